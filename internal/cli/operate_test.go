package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/cli"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/control/operate"
)

const keptPipe = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: kept }
spec:
  store: { driver: sqlite }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: pipe }
spec:
  from: { stdin: { format: { json: {} } } }
  steps:
    - fail: { code: unprocessable, message: price must be above 0 }
      name: check
      when: body.price < 0
  to: { stdout: { format: { json: {} } } }
`

// here makes a folder of its own the current one, with a configuration.
func here(t *testing.T, text string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ps") // a short name: the socket lies below it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Chdir(dir)
	if err := os.WriteFile("flow.yaml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// running is a run in this process.
type running struct {
	feed   *io.PipeWriter
	stdout *watched
	code   chan int
}

// began waits until what was fed came out.
func begun(t *testing.T, feed, want string, args ...string) *running {
	t.Helper()
	in, w := io.Pipe()
	r := &running{feed: w, stdout: watch(want), code: make(chan int, 1)}
	p := program(in, r.stdout, io.Discard)
	go func() { r.code <- p.Run(append([]string{"run", "flow.yaml"}, args...)) }()
	if _, err := io.WriteString(w, feed); err != nil {
		t.Fatal(err)
	}
	<-r.stdout.seen
	s := &control.Service{Registry: edition.Standard()}
	for { // the run listens as soon as it has started, beside what it reads
		ops, err := s.Operate(t.Context(), control.Place{})
		if err != nil {
			t.Fatal(err)
		}
		remote := ops.Remote
		_ = ops.Close()
		if remote {
			return r
		}
		if t.Context().Err() != nil || len(r.code) > 0 {
			t.Fatal("nobody listens")
		}
	}
}

func program(in io.Reader, out, err io.Writer) *cli.Program {
	return &cli.Program{
		Service: &control.Service{Registry: edition.Standard()}, Stdin: in, Stdout: out, Stderr: err,
		Getenv:  func(string) string { return "" },
		Signals: func() (<-chan os.Signal, func()) { return nil, func() {} },
	}
}

// command runs a command and gives what it wrote.
func command(t *testing.T, want int, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if code := program(strings.NewReader(""), &out, &out).Run(args); code != want {
		t.Fatalf("penstock %s ends with %d:\n%s", strings.Join(args, " "), code, out.String())
	}
	return out.String()
}

// TestBothWaysAreTheSame asks a process that runs, and then the store without one.
func TestBothWaysAreTheSame(t *testing.T) {
	here(t, keptPipe)
	r := begun(t, `{"price":-1}{"price":-2}{"cost":1}{"price":1}`+"\n", `{"price":1}`)
	questions := [][]string{
		{"dlq", "ls"}, {"dlq", "ls", "pipe", "-o", "json"}, {"dlq", "export"}, {"dlq", "try", "-o", "json"}, {"dlq", "show", "pipe.dead@0"},
		{"dlq", "export", "--where", "has(body.price) && error.step == 'check'"}, {"trace", "stdin:1"}, {"trace", "stdin:1", "-o", "json"},
	}
	wrong := [][]string{{"dlq", "show", "pipe.dead@77"}, {"dlq", "ls", "pope"}, {"dlq", "export", "--where", "body >"}, {"dlq", "redrive", "pope"}}
	waitDead(t, 3)
	answers := map[string]string{}
	for _, q := range questions {
		answers[strings.Join(q, " ")] = command(t, 0, q...)
	}
	for _, q := range wrong {
		answers[strings.Join(q, " ")] = command(t, 1, q...)
	}
	if ps := command(t, 0, "ps"); !strings.Contains(ps, "running") || !strings.Contains(ps, "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("ps says\n%s", ps)
	}
	if got := command(t, 0, "drain"); !strings.Contains(got, "finished what was in flight and ended") {
		t.Errorf("drain says %s", got)
	}
	if code := <-r.code; code != 0 {
		t.Errorf("the run ended with %d", code)
	}
	if got := command(t, 0, "drain", "-o", "json"); !strings.Contains(got, `"running": false`) {
		t.Errorf("drain says %s", got)
	}
	if _, err := os.Lstat(".penstock/control.sock"); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	for _, q := range append(questions, wrong...) {
		code := 0
		if len(q) > 0 && strings.Contains(answers[strings.Join(q, " ")], "penstock:") {
			code = 1
		}
		if got := command(t, code, q...); got != answers[strings.Join(q, " ")] {
			t.Errorf("%v directly:\n%s\nover the socket:\n%s", q, got, answers[strings.Join(q, " ")])
		}
	}
}

// waitDead waits until so many dead letters are stored.
func waitDead(t *testing.T, n int64) {
	t.Helper()
	s := &control.Service{Registry: edition.Standard()}
	for t.Context().Err() == nil {
		ops, err := s.Operate(t.Context(), control.Place{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := ops.Dead.Clusters(t.Context(), "")
		_ = ops.Close()
		if err == nil && c.Count == n {
			return
		}
	}
}

func TestRedriveInARunningProcess(t *testing.T) {
	here(t, keptPipe)
	r := begun(t, `{"price":-1}{"cost":1}{"price":1}`+"\n", `{"price":1}`)
	waitDead(t, 2)
	if got := command(t, 0, "dlq", "redrive", "pipe"); got != "2 dead letters of pipe redriven\n" {
		t.Errorf("redrive says %q", got)
	}
	waitDead(t, 2) // they died again
	out := command(t, 0, "dlq", "export")
	for _, want := range []string{`"id":"pipe.dead@2"`, `"id":"pipe.dead@3"`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not in\n%s", want, out)
		}
	}
	if got := command(t, 0, "dlq", "drop", "pipe", "--yes", "--limit", "1"); got != "1 dead letter of pipe dropped; 1 is left\n" {
		t.Errorf("drop says %q", got)
	}
	var st operate.Status
	if err := json.Unmarshal([]byte(command(t, 0, "ps", "-o", "json")), &st); err != nil {
		t.Fatal(err)
	}
	if !st.Running || len(st.Flows) != 1 || st.Flows[0].Dead != 1 || st.Flows[0].State != operate.StateRunning || st.Flows[0].Read < 3 {
		t.Errorf("%+v", st)
	}
	_ = r.feed.Close()
	if code := <-r.code; code != 0 {
		t.Errorf("the run ended with %d", code)
	}
}

// TestRemainsInARunningProcess asks a process that runs for what it runs itself, and for what it does not.
func TestRemainsInARunningProcess(t *testing.T) {
	dedupe := strings.Replace(keptPipe, "  steps:\n", "  steps:\n    - dedupe: { key: body.price }\n      name: NAME\n", 1)
	here(t, strings.Replace(dedupe, "NAME", "once", 1))
	r := begun(t, `{"price":1}`+"\n", `{"price":1}`)
	for _, args := range [][]string{{"drop", "pipe/once", "--yes"}, {"rename", "pipe/once", "pipe/twice"}} {
		if got := command(t, 1, append([]string{"store"}, args...)...); !strings.Contains(got, "the process that runs has the step pipe/once") {
			t.Errorf("%v says\n%s", args, got)
		}
	}
	if got := command(t, 0, "store", "info"); !strings.Contains(got, "dedupe by body.price") {
		t.Errorf("info says\n%s", got)
	}
	_ = r.feed.Close()
	if code := <-r.code; code != 0 {
		t.Errorf("the run ended with %d", code)
	}
	if got := command(t, 0, "store", "drop", "pipe/once", "--yes"); !strings.Contains(got, "1 entry of state and 0 messages of pipe/once dropped") {
		t.Errorf("drop says\n%s", got)
	}
}

// TestSecondProcess finds the store in use: by one that answers, and by one that doesn't.
func TestSecondProcess(t *testing.T) {
	here(t, keptPipe)
	r := begun(t, `{"price":1}`+"\n", `{"price":1}`)
	got := command(t, 2, "run", "flow.yaml")
	if !strings.Contains(got, "another process has it open, of pid "+strconv.Itoa(os.Getpid())) {
		t.Errorf("a second run says\n%s", got)
	}
	if command(t, 0, "ps"); len(r.code) > 0 {
		t.Error("the first one ended")
	}
	if err := os.Remove(".penstock/control.sock"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"dlq", "ls"}, {"ps"}, {"store", "info"}} {
		got := command(t, 2, args...)
		if !strings.Contains(got, "of pid "+strconv.Itoa(os.Getpid())) || !strings.Contains(got, "does not answer on its control socket") {
			t.Errorf("%v says\n%s", args, got)
		}
	}
	_ = r.feed.Close()
	<-r.code
}

// TestStoreOfANewerVersion is refused, and left alone.
func TestStoreOfANewerVersion(t *testing.T) {
	here(t, keptPipe)
	r := begun(t, `{"price":-1}{"price":1}`+"\n", `{"price":1}`)
	_ = r.feed.Close()
	<-r.code
	text, err := os.ReadFile(".penstock/store.db")
	if err != nil {
		t.Fatal(err)
	}
	text[63] = 99 // user_version, big-endian, at 60: https://www.sqlite.org/fileformat.html
	if err := os.WriteFile(".penstock/store.db", text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"dlq", "ls"}, {"ps"}, {"run", "flow.yaml"}} {
		if got := command(t, 2, args...); !strings.Contains(got, "version 99") || !strings.Contains(got, "hint: use the newer penstock") {
			t.Errorf("%v says\n%s", args, got)
		}
	}
	if now, err := os.ReadFile(".penstock/store.db"); err != nil || !bytes.Equal(now, text) {
		t.Errorf("the file was changed: %v", err)
	}
}

// TestJobListensWithoutAFolder: a run that keeps no state leaves nothing in the working folder, and can be asked nevertheless.
func TestJobListensWithoutAFolder(t *testing.T) {
	here(t, pipe)
	r := begun(t, "{\"a\":1}\n", "{\"a\":1}")
	if ps := command(t, 0, "ps"); !strings.Contains(ps, "pipe  running") {
		t.Errorf("ps says\n%s", ps)
	}
	if got := command(t, 0, "dlq", "ls"); got != "there are no open dead letters\n" {
		t.Errorf("dlq ls says\n%s", got)
	}
	if got := command(t, 0, "trace", "stdin:1"); !strings.Contains(got, "the journal is empty") {
		t.Errorf("trace says\n%s", got)
	}
	if got := command(t, 1, "dlq", "ls", "pip"); !strings.Contains(got, "did you mean pipe?") {
		t.Errorf("dlq ls pip says\n%s", got)
	}
	if got := command(t, 1, "send", "pip", "--data", "1"); !strings.Contains(got, "send: there is no flow called pip") || !strings.Contains(got, "there is pipe") {
		t.Errorf("send says\n%s", got)
	}
	command(t, 0, "drain")
	if code := <-r.code; code != 0 {
		t.Errorf("the run ended with %d", code)
	}
	if _, err := os.Lstat(".penstock"); !os.IsNotExist(err) {
		t.Errorf("a folder was made: %v", err)
	}
}

// TestKilledProcessLeavesNothingInTheWay starts a process, kills it, and goes on.
func TestKilledProcessLeavesNothingInTheWay(t *testing.T) {
	here(t, keptPipe)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run=TestHelperRun")
	cmd.Env = append(os.Environ(), "PENSTOCK_TEST_RUN=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "{\"price\":-1}{\"price\":1}\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	waitDead(t, 1)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := command(t, 0, "dlq", "export"); strings.Count(got, "\n") != 1 {
		t.Errorf("directly:\n%s", got)
	}
	r := begun(t, "{\"price\":2}\n", `{"price":2}`)
	if ps := command(t, 0, "ps"); !strings.Contains(ps, "running") {
		t.Errorf("ps says\n%s", ps)
	}
	_ = r.feed.Close()
	<-r.code
}

// TestHelperRun is the process that is killed.
func TestHelperRun(t *testing.T) {
	if os.Getenv("PENSTOCK_TEST_RUN") == "" {
		t.Skip("only for TestKilledProcessLeavesNothingInTheWay")
	}
	os.Exit(program(os.Stdin, os.Stdout, io.Discard).Run([]string{"run", "flow.yaml"}))
}
