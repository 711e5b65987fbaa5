// Command gofuzz runs every fuzz target of the module for a while, one after the other,
// since `go test -fuzz` takes one at a time.
package main

import (
	"bytes"
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
	parts := flag.Int("parts", 1, "run only one part of so many of the targets")
	turn := flag.Int("turn", 0, "which part: any number, such as that of a change; the next number is the next part")
	flag.Parse()
	failed, ran := 0, 0
	targets, err := list()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gofuzz:", err)
		os.Exit(1)
	}
	for i, t := range targets {
		if !strings.Contains(t.name, *match) || (i+*turn)%max(1, *parts) != 0 {
			continue
		}
		ran++
		fmt.Printf("fuzz %s %s for %s\n", t.pkg, t.name, *each)
		cmd := exec.CommandContext(context.Background(), "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each.String(), t.pkg)
		if out, err := cmd.CombinedOutput(); err != nil && !onlyLate(out) {
			failed++
			fmt.Printf("%s\n%s %s: %v\n", out, t.pkg, t.name, err)
		}
	}
	fmt.Printf("%d of %d fuzz targets, %d failed\n", ran, len(targets), failed)
	if failed > 0 {
		os.Exit(1)
	}
}

// onlyLate says that a target failed because a worker was at work when the time was up, and found nothing: https://go.dev/issue/75804.
func onlyLate(out []byte) bool {
	return bytes.Contains(out, []byte("context deadline exceeded")) && !bytes.Contains(out, []byte("Failing input written"))
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
