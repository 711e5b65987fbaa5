// Command mutate plants deliberate bugs (package mutation), one after the other, and runs the tests that must catch them. A bug that
// a test does not catch is printed, and is a failure: of the test.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	match := flag.String("run", "", "only bugs whose name contains this")
	sample := flag.Int("sample", 1, "only every so-many-th bug and test")
	limit := flag.Duration("timeout", 20*time.Second, "how long a test may take, outside of connectors, whose tests start servers; one that hangs has caught its bug")
	parts := flag.Int("parts", 1, "of the bugs whose tests start servers, only one part of so many")
	turn := flag.Int("turn", 0, "which part: any number, such as that of a change; the next number is the next part")
	again := flag.Int("again", 0, "how often what was not caught is planted once more: a test of random programs may miss a bug by chance")
	verbose := flag.Bool("v", false, "print what the tests say")
	flag.Parse()
	m := mutator{limit: *limit, parts: max(1, *parts), turn: *turn}
	if *verbose {
		m.says = os.Stdout
	}
	survivors, err := m.all(*match, *sample, *again)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
	if len(survivors) > 0 {
		fmt.Printf("%d times a bug was not caught\n", len(survivors))
		os.Exit(1)
	}
}

// mutator runs tests with bugs in them.
type mutator struct {
	limit    time.Duration
	parts    int // of the suites that start servers, it plants for one in so many,
	turn     int // which has its turn
	says     io.Writer
	folder   string
	binaries map[string]string // by package
	sound    map[suite]bool    // it passes where no bug is planted
}

// planted is a bug, and the tests that have to catch it.
type planted struct {
	bug
	by suite
}

// all gives what is not caught, also where it is planted again.
func (m *mutator) all(match string, sample, again int) (survivors []planted, err error) {
	if m.folder, err = os.MkdirTemp("", "mutate"); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(m.folder) }()
	m.binaries, m.sound = map[string]string{}, map[suite]bool{}
	began, i, slow := time.Now(), 0, 0
	var all []planted
	for _, b := range bugs {
		if !strings.Contains(b.name, match) {
			continue
		}
		for _, s := range b.tests {
			if s.startsServers() {
				if slow++; (slow+m.turn)%m.parts != 0 {
					continue
				}
			}
			if i++; i%sample == 0 {
				all = append(all, planted{b, s})
			}
		}
	}
	survivors, err = m.plant(all)
	for ; again > 0 && err == nil && len(survivors) > 0; again-- {
		fmt.Println("again, what was not caught:")
		survivors, err = m.plant(survivors)
	}
	if err == nil {
		fmt.Printf("%d times a bug was planted, %d were not caught; %s\n", len(all), len(survivors), time.Since(began).Round(time.Second))
	}
	return survivors, err
}

// plant gives those that are not caught.
func (m *mutator) plant(all []planted) (survivors []planted, err error) {
	for _, p := range all {
		start := time.Now()
		caught, err := m.catches(p.bug, p.by)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		if !caught {
			survivors = append(survivors, p)
			fmt.Printf("NOT CAUGHT  %-24s by %s %s: %s\n", p.name, p.by.pkg, p.by.tests, p.does)
			continue
		}
		fmt.Printf("caught      %-24s by %s %s, in %s\n", p.name, p.by.pkg, p.by.tests, time.Since(start).Round(100*time.Millisecond))
	}
	return survivors, nil
}

// catches says that the tests fail with the bug, and pass without it.
func (m *mutator) catches(b bug, s suite) (bool, error) {
	sound, err := m.build(s, nil)
	if err != nil {
		return false, err
	}
	if !m.sound[s] {
		if out, ran := m.test(sound, "", s); !ran {
			return false, fmt.Errorf("the tests %s of %s fail without any bug, or there are none:\n%s", s.tests, s.pkg, out)
		}
		m.sound[s] = true
	}
	bin := sound
	if e, ok := edits[b.name]; ok {
		if bin, err = m.build(s, &e); err != nil {
			return false, err
		}
	}
	out, passed := m.test(bin, b.name, s)
	if m.says != nil {
		_, _ = fmt.Fprintf(m.says, "=== %s, %s %s\n%s\n", b.name, s.pkg, s.tests, out)
	}
	return !passed, nil
}

// build builds the tests of a package, with an edit if there is one.
func (m *mutator) build(s suite, e *edit) (bin string, err error) {
	if e == nil && m.binaries[s.pkg] != "" {
		return m.binaries[s.pkg], nil
	}
	bin = filepath.Join(m.folder, strings.ReplaceAll(strings.TrimPrefix(s.pkg, "/"), "/", "-")+".test")
	args := []string{"test", "-c", "-tags", "penstock_mutate"}
	if e != nil {
		bin += ".edited"
		overlay, err := e.overlay(m.folder)
		if err != nil {
			return "", err
		}
		args = append(args, "-overlay", overlay)
	}
	args = append(args, "-o", bin, "./"+s.folder())
	if out, err := exec.CommandContext(context.Background(), "go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the tests of %s: %w\n%s", s.pkg, err, out)
	}
	if e == nil {
		m.binaries[s.pkg] = bin
	}
	return bin, nil
}

// serverLimit is how long tests may take that start a server.
const serverLimit = 3 * time.Minute

// test runs tests, and says that there were some and that they passed.
func (m *mutator) test(bin, planted string, s suite) (out []byte, passed bool) {
	limit := m.limit
	if s.startsServers() {
		limit = max(limit, serverLimit)
	}
	cmd := exec.CommandContext(context.Background(), bin, "-test.run", s.tests, "-test.v", "-test.failfast", "-test.timeout", limit.String())
	cmd.Dir = filepath.FromSlash(s.folder())
	cmd.Env = append(os.Environ(), "PENSTOCK_MUTATION="+planted, "RAPID_NOFAILFILE=1", "RAPID_SHRINKTIME=0s")
	out, err := cmd.CombinedOutput()
	return out, err == nil && bytes.Contains(out, []byte("--- PASS"))
}
