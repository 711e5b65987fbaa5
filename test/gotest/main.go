// Command gotest runs `go test` and prints what a person wants to know of it: failures
// with their output, what was skipped and why, and one closing line of counts.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"
	"time"
)

// event is a line of `go test -json` (see go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	start := time.Now()
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		return 1
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		return 1
	}
	r := results{output: map[string][]string{}}
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 1<<20), 64<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text()) // not an event: a build error of an old toolchain
			continue
		}
		r.add(e)
	}
	err = cmd.Wait()
	r.print(time.Since(start))
	if err != nil || r.failed > 0 {
		return 1
	}
	return 0
}

type results struct {
	passed, failed int
	skips          []string
	output         map[string][]string // of tests that still run
}

func (r *results) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if e.Action == "build-output" {
			fmt.Print(e.Output)
			return
		}
		r.output[key] = append(r.output[key], e.Output)
	case "pass":
		if e.Test != "" {
			r.passed++
		} else {
			fmt.Printf("ok    %-60s %6.1fs\n", e.Package, e.Elapsed)
		}
		delete(r.output, key)
	case "skip":
		if e.Test != "" {
			r.skips = append(r.skips, fmt.Sprintf("%s %s: %s", e.Package, e.Test, why(r.output[key])))
		}
		delete(r.output, key)
	case "fail":
		if e.Test != "" {
			r.failed++
		} else {
			fmt.Printf("FAIL  %-60s %6.1fs\n", e.Package, e.Elapsed)
		}
		fmt.Print(strings.Join(r.output[key], ""))
		delete(r.output, key)
	}
}

// why finds the reason that a test gave for being skipped.
func why(output []string) string {
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		if _, reason, ok := strings.Cut(line, ": "); ok {
			return reason
		}
		return line
	}
	return "no reason given"
}

func (r *results) print(elapsed time.Duration) {
	sort.Strings(r.skips)
	if len(r.skips) > 0 {
		fmt.Println("\nskipped:")
		for _, s := range r.skips {
			fmt.Println("  " + s)
		}
	}
	fmt.Printf("\nin %s\n%d passed, %d failed, %d skipped\n", elapsed.Round(time.Second), r.passed, r.failed, len(r.skips))
}
