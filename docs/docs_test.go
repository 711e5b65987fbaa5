// Package docs_test runs the documentation: files that a page shows are written, commands are run in their
// order, and what they print is compared with what the page says.
package docs_test

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/cli"
	"penstock.dev/penstock/internal/control"
)

var update = flag.Bool("update", false, "rewrite what the commands print in the pages")

// TestMain makes this binary the program `penstock` where it is called by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "penstock" {
		p := &cli.Program{
			Service: &control.Service{Registry: edition.Standard()},
			Version: control.VersionOf(nil, "v0.0.0-test"),
			Stdin:   os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		}
		os.Exit(p.Run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// pages are run from the top to the bottom, each in an empty folder. A page is Markdown in which
//
//	<!-- file name -->  and then a fenced block   writes a file
//	<!-- add name -->   and then a fenced block   adds the block to the end of a file
//	<!-- change name: old => new -->              changes the first such text of a file, as readers do by hand
//	<!-- print command -->  and then a block      the block is what the command prints
//	<!-- run command -->                          runs a command, which must succeed, and shows nothing of it
//	<!-- serve /path: command -->                 begins a run that answers there, for the rest of the page: at a port of its own in the place of 8080
//	```console                                    runs each line that begins with $, and prints what follows
//
// and any other block is text.
var pages = []string{"../README.md", "calling-http.md", "cdc.md", "channels.md", "cloudevents.md", "delivery.md", "expressions.md", "jobs.md", "kafka.md", "local-loop.md", "mqtt.md", "nats.md", "pulsar.md", "rabbitmq.md", "redis.md", "resilience.md", "schemas.md", "serving-http.md", "sql.md", "testing.md", "tutorial.md"}

func TestPages(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "penstock")); err != nil {
		t.Skip("no symbolic links here")
	}
	env := append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "NO_COLOR=1")
	for _, name := range pages {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			p := &page{t: t, dir: t.TempDir(), env: env}
			got := p.run(string(text))
			if *update {
				if err := os.WriteFile(name, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// page is a page that is being run.
type page struct {
	t   *testing.T
	dir string
	env []string
	at  string // where a run of the page listens; "": there is none
}

var (
	fence     = regexp.MustCompile("(?m)^```")
	directive = regexp.MustCompile(`<!-- (file|add) (\S+) -->\s*$`)
	change    = regexp.MustCompile(`<!-- change (\S+): (.+) => (.+) -->`)
	printed   = regexp.MustCompile(`<!-- print (.+) -->\s*$`)
	serve     = regexp.MustCompile(`<!-- serve (\S+): (.+) -->`)
	quiet     = regexp.MustCompile(`<!-- run (.+) -->`)
)

// run goes through the blocks of a page and returns it with what the commands really print.
func (p *page) run(text string) string {
	var out strings.Builder
	for {
		open := fence.FindStringIndex(text)
		before := text
		if open != nil {
			before = text[:open[0]]
		}
		for _, q := range quiet.FindAllStringSubmatch(before, -1) {
			if out, failed := p.command(q[1]); failed {
				p.t.Errorf("$ %s\n%s", q[1], out)
			}
		}
		if c := serve.FindStringSubmatch(before); c != nil {
			p.serve(c[1], c[2])
		}
		if open == nil {
			out.WriteString(text)
			return out.String()
		}
		prose := text[:open[0]]
		for _, c := range change.FindAllStringSubmatch(prose, -1) {
			newlines := strings.NewReplacer(`\n`, "\n")
			p.change(c[1], newlines.Replace(c[2]), newlines.Replace(c[3]))
		}
		kind, rest, _ := strings.Cut(text[open[1]:], "\n")
		end := fence.FindStringIndex(rest)
		if end == nil {
			p.t.Fatalf("a block is not closed: ```%s", kind)
		}
		block := rest[:end[0]]
		if d := directive.FindStringSubmatch(prose); d != nil {
			p.write(d[1] == "add", d[2], block)
		}
		if c := printed.FindStringSubmatch(prose); c != nil {
			block = p.compare(c[1], block)
		}
		if kind == "console" {
			block = p.console(block)
		}
		out.WriteString(prose + "```" + kind + "\n" + block + "```")
		text = rest[end[1]:]
	}
}

// serve begins a run, and returns when it answers.
func (p *page) serve(path, line string) {
	p.t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(p.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.at = ln.Addr().String()
	if err := ln.Close(); err != nil {
		p.t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("env", append(strings.Fields(line), "--listen", p.at)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, &log, &log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	p.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // else it has ended, which is said then
		if err := <-over; err != nil {
			p.t.Errorf("$ %s\n%s%v", line, log.String(), err)
		}
	})
	for len(over) == 0 {
		req, err := http.NewRequestWithContext(p.t.Context(), http.MethodOptions, "http://"+p.at+path, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}
		_ = res.Body.Close() // nothing of it is read
		if res.StatusCode != http.StatusNotFound {
			return
		}
	}
}

func (p *page) write(add bool, name, block string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		p.t.Fatal(err)
	}
	if add {
		before, err := os.ReadFile(path)
		if err != nil {
			p.t.Fatal(err)
		}
		block = string(before) + block
	}
	if err := os.WriteFile(path, []byte(block), 0o666); err != nil {
		p.t.Fatal(err)
	}
}

// console runs the commands of a block and returns it with their output.
func (p *page) console(block string) string {
	var out strings.Builder
	for i, part := range regexp.MustCompile(`(?m)^\$ `).Split(block, -1) {
		if i == 0 {
			if part != "" {
				p.t.Errorf("this stands before the first command: %s", part)
			}
			continue
		}
		command, want, _ := strings.Cut(part, "\n")
		out.WriteString("$ " + command + "\n" + p.compare(command, want))
	}
	return out.String()
}

// compare runs a command and gives what it really prints, with the times of what the page says.
func (p *page) compare(command, want string) string {
	got, _ := p.command(command)
	if got != "" && !strings.HasSuffix(got, "\n") {
		got += "\n" // an answer of HTTP has none
	}
	if steady(got) == steady(want) {
		return want
	}
	if !*update {
		p.t.Errorf("$ %s\n--- printed\n%s--- the page says (go test ./docs -update rewrites it)\n%s", command, got, want)
	}
	return got
}

// change replaces the first occurrence of a text in a file.
func (p *page) change(name, old, with string) {
	path := filepath.Join(p.dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		p.t.Fatalf("%s has no %s", name, old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, with, 1)), 0o666); err != nil {
		p.t.Fatal(err)
	}
}

// command runs one line in the shell, or changes the folder for those that follow. It gives what was printed.
func (p *page) command(line string) (out string, failed bool) {
	if dir, ok := strings.CutPrefix(line, "cd "); ok {
		p.dir = filepath.Join(p.dir, dir)
		return "", false
	}
	if p.at != "" {
		line = strings.ReplaceAll(line, "localhost:8080", p.at)
	}
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir, cmd.Env = p.dir, p.env
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return string(text), err != nil
}

// what differs from run to run
var varying = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`(?m)^in [0-9.]+m?s$`), "in …"},
	{regexp.MustCompile(`(?m) +(rate|-|[0-9.,]+/s)$`), " …"},
	{regexp.MustCompile(`"time":"[^"]*"`), `"time":"…"`},
	{regexp.MustCompile(`"(enqueued|leaseUntil)":"[^"]*"`), `"$1":"…"`},
	{regexp.MustCompile(`"(leaseMs|waitedMs)":[0-9]+`), `"$1":…`},
	{regexp.MustCompile(`[0-9-]{10} [0-9:]{8}\.[0-9]{3}Z`), "…"},
	{regexp.MustCompile(`(\.csv)@[0-9a-f]{8}`), "$1@…"}, // which version of a file
	{regexp.MustCompile(`\.dead@[0-9]+`), ".dead@…"},    // of those that die at once, any may be the first
	{regexp.MustCompile(`(?m)^  [0-9-]+ [0-9:]+Z(, as | … )`), "  …$1"},
}

// steady is what a command printed, without times.
func steady(s string) string {
	for _, v := range varying {
		s = v.what.ReplaceAllString(s, v.with)
	}
	return s
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)

// TestLinks finds links to files that are not there.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("../*.md")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../examples/README.md", "../bench/README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, l := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(l[1], ":") {
				continue // elsewhere
			}
			found++
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), l[1])); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", page, l[1])
			}
		}
	}
	if found == 0 {
		t.Error("no link was found at all")
	}
}
