package badinput_test
import "penstock.dev/penstock/internal/control"
func runOpts(dead string) control.RunOptions { return control.RunOptions{DeadLetters: dead} }
