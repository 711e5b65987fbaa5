// Command gofuzz runs every fuzz target of the module for a while, one after the other,
// since `go test -fuzz` takes one at a time.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

func main() {
	each := flag.Duration("time", 3*time.Second, "how long each target runs")
	match := flag.String("run", "", "only targets whose name contains this")
	flag.Parse()
	failed := 0
	targets, err := list()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gofuzz:", err)
		os.Exit(1)
	}
	for _, t := range targets {
		if !strings.Contains(t.name, *match) {
			continue
		}
		fmt.Printf("fuzz %s %s for %s\n", t.pkg, t.name, *each)
		cmd := exec.CommandContext(context.Background(), "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each.String(), t.pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			failed++
			fmt.Printf("%s\n%s %s: %v\n", out, t.pkg, t.name, err)
		}
	}
	fmt.Printf("%d fuzz targets, %d failed\n", len(targets), failed)
	if failed > 0 {
		os.Exit(1)
	}
}

type target struct{ pkg, name string }

// list finds the targets: the functions named Fuzz… in the test files of each package.
func list() ([]target, error) {
	out, err := exec.CommandContext(context.Background(), "go", "list", "-f", `{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}
{{end}}{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}
{{end}}`, "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var targets []target
	for line := range strings.Lines(string(out)) {
		pkg, file, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for l := range strings.Lines(string(src)) {
			if rest, ok := strings.CutPrefix(l, "func Fuzz"); ok {
				name, _, _ := strings.Cut(rest, "(")
				targets = append(targets, target{pkg, "Fuzz" + name})
			}
		}
	}
	return targets, nil
}
