// Command gotest runs `go test` and prints what a person wants to know of it: failures
// with their output, what was skipped and why, and one closing line of counts.
//
// With -again as its first argument, packages that fail are run once more, one after the other, if they are few: what passes then is no fault of the
// change that it meets, such as a real server that a busy machine kept waiting, but it is one, and is listed under a heading of its own.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
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

// few is how many packages are run again: where more fail, something is broken.
const few = 3

func run(args []string) int {
	again := len(args) > 0 && args[0] == "-again"
	if again {
		args = args[1:]
	}
	start := time.Now()
	r := results{output: map[string][]string{}}
	ok := r.test(args)
	for range 4 {
		broken := r.broken
		if ok || len(broken) == 0 {
			break
		}
		fmt.Printf("\nthe race detector itself broke down, so that there is no verdict; again: %s\n", strings.Join(broken, " "))
		r.forget(broken)
		ok = r.test(slices.Concat([]string{"-count=1", "-p=1"}, flagsOf(args), broken))
	}
	var unsteady []string
	if !ok && again && len(r.failedPackages) > 0 && len(r.failedPackages) <= few {
		second := results{output: map[string][]string{}}
		fmt.Printf("\nagain, one after the other: %s\n", strings.Join(r.failedPackages, " "))
		if ok = second.test(slices.Concat([]string{"-count=1", "-p=1"}, flagsOf(args), r.failedPackages)); ok {
			unsteady, r.failedTests = r.failedTests, nil
		}
	}
	r.print(time.Since(start))
	if len(unsteady) > 0 {
		fmt.Println("\nfailed at first and passed when run again, which has to be mended:")
		for _, t := range unsteady {
			fmt.Println("  " + t)
		}
	}
	if !ok {
		return 1
	}
	return 0
}

// flagsOf are the flags among the arguments, in front of the packages. A flag has its value behind "=", or is followed by it.
func flagsOf(args []string) []string {
	n := len(args)
	for n > 0 && (strings.HasPrefix(args[n-1], "./") || strings.Contains(args[n-1], "/...")) {
		n--
	}
	return args[:n]
}

// test runs `go test`; false says that it did not pass.
func (r *results) test(args []string) bool {
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		return false
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		return false
	}
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
	return err == nil && len(r.failedPackages) == 0 && len(r.failedTests) == 0
}

// breakdown is what the race detector says when it fails itself. That of Go 1.26 does so now and then where very many goroutines come and go.
const breakdown = "ThreadSanitizer: CHECK failed"

// forget forgets that packages have failed.
func (r *results) forget(packages []string) {
	r.broken = nil
	r.failedPackages = slices.DeleteFunc(r.failedPackages, func(p string) bool { return slices.Contains(packages, p) })
	r.failedTests = slices.DeleteFunc(r.failedTests, func(t string) bool {
		p, _, _ := strings.Cut(t, " ")
		return slices.Contains(packages, p)
	})
}

type results struct {
	passed         int
	failedTests    []string
	failedPackages []string
	broken         []string // of the failed packages: those where the race detector did
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
			r.failedTests = append(r.failedTests, e.Package+" "+e.Test)
		} else {
			r.failedPackages = append(r.failedPackages, e.Package)
			fmt.Printf("FAIL  %-60s %6.1fs\n", e.Package, e.Elapsed)
		}
		said := strings.Join(r.output[key], "")
		delete(r.output, key)
		if e.Test == "" { // what its tests said that have not ended, as the process did
			for k, lines := range r.output {
				if strings.HasPrefix(k, key) {
					said += strings.Join(lines, "")
					delete(r.output, k)
				}
			}
			if strings.Contains(said, breakdown) {
				r.broken = append(r.broken, e.Package)
			}
		}
		fmt.Print(said)
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
	fmt.Printf("\nin %s\n%d passed, %d failed, %d skipped\n", elapsed.Round(time.Second), r.passed, len(r.failedTests), len(r.skips))
}
