package cli_test

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"penstock.dev/penstock/internal/control"
)

// marked is keptPipe with another step.
func marked(v string) string {
	return strings.Replace(keptPipe, "  to: {", "    - set: { body.v: \""+v+"\" }\n  to: {", 1)
}

func write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile("flow.yaml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (r *running) sends(t *testing.T, feed, want string) {
	t.Helper()
	r.stdout.mu.Lock()
	r.stdout.text.Reset()
	r.stdout.mu.Unlock()
	if _, err := io.WriteString(r.feed, feed+"\n"); err != nil {
		t.Fatal(err)
	}
	r.stdout.wait(want)
}

func (r *running) ends(t *testing.T) {
	t.Helper()
	if err := r.feed.Close(); err != nil {
		t.Fatal(err)
	}
	if code := <-r.code; code != 0 {
		t.Errorf("the run ended with %d", code)
	}
}

func TestReload(t *testing.T) {
	here(t, marked("one"))
	r := begun(t, `{"price":1}`+"\n", `"one"`)
	write(t, marked("two"))
	got := command(t, 0, "reload")
	for _, want := range []string{"reloaded in", "~ pipe", "step set1: body.v one → two"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not said in\n%s", want, got)
		}
	}
	r.sends(t, `{"price":2}`, `{"price":2,"v":"two"}`)
	if got := command(t, 0, "reload"); !strings.Contains(got, "nothing has changed") {
		t.Errorf("%s", got)
	}
	write(t, strings.Replace(marked("three"), "set:", "sot:", 1))
	got = command(t, 2, "reload")
	for _, want := range []string{"flow.yaml:16:7: error:", "| ", "did you mean `set`", "not reloaded: 1 error", "what runs goes on as it was"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not said in\n%s", want, got)
		}
	}
	write(t, strings.Replace(marked("three"), "driver: sqlite", "driver: sqlite, path: other.db", 1))
	var out control.Reloaded
	if err := json.Unmarshal([]byte(command(t, 2, "reload", "-o", "json", "--store", ".penstock/store.db")), &out); err != nil {
		t.Fatal(err)
	}
	if !out.Restart || out.Error == nil || !strings.Contains(out.Error.Message, "the store is another one") || out.OK {
		t.Errorf("%+v", out)
	}
	r.sends(t, `{"price":3}`, `{"price":3,"v":"two"}`)
	write(t, marked("two"))
	r.ends(t)
	if got := command(t, 0, "reload"); !strings.Contains(got, "no process runs here") {
		t.Errorf("%s", got)
	}
}

func TestPauseAndResume(t *testing.T) {
	here(t, keptPipe)
	r := begun(t, `{"price":1}`+"\n", `{"price":1}`)
	if got := command(t, 0, "pause", "pipe"); !strings.Contains(got, "pipe is paused; penstock resume pipe lets it read on") {
		t.Error(got)
	}
	if got := command(t, 0, "ps"); !strings.Contains(got, "paused") {
		t.Error(got)
	}
	if got := command(t, 1, "pause", "pope"); !strings.Contains(got, "did you mean pipe?") {
		t.Error(got)
	}
	if got := command(t, 0, "resume", "pipe", "-o", "json"); !strings.Contains(got, `"paused": false`) {
		t.Error(got)
	}
	r.sends(t, `{"price":2}`, `{"price":2}`)
	r.ends(t)
	if got := command(t, 0, "pause", "pipe"); !strings.Contains(got, "no process runs here") {
		t.Error(got)
	}
}

// TestWatch reloads when a file changes, and when it is asked to with a signal.
func TestWatch(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			here(t, marked("one"))
			in, feed := io.Pipe()
			hangup, stop := make(chan os.Signal), make(chan os.Signal)
			r := &running{feed: feed, stdout: watch(`"one"`), code: make(chan int, 1)}
			log := watch("")
			p := program(in, r.stdout, log)
			p.Hangups = func() (<-chan os.Signal, func()) { return hangup, func() {} }
			p.Signals = func() (<-chan os.Signal, func()) { return stop, func() {} }
			go func() { r.code <- p.Run([]string{"run", "flow.yaml", "--watch", "-o", format}) }()
			r.sends(t, `{"price":1}`, `"v":"one"`)
			says := func(text, asJSON string) {
				t.Helper()
				if format == "json" {
					text = asJSON
				}
				log.wait(text)
			}
			write(t, marked("two"))
			says("step set1: body.v one → two", `"changed":[{"flow":"pipe","what":["step set1: body.v one → two"]}]`)
			r.sends(t, `{"price":2}`, `"v":"two"`)
			write(t, "no: [yaml")
			says("what runs goes on as it was", `"ok":false`)
			r.sends(t, `{"price":3}`, `"v":"two"`)
			hangup <- os.Interrupt
			says("not reloaded", `"ok":false`)
			write(t, marked("two")) // as it runs: who has mended it hears that it is well
			says("nothing has changed for the flows that run", `"ok":true,"added":[],"removed":[],"changed":[],"unchanged":["pipe"]`)
			write(t, marked("three"))
			says("step set1: body.v two → three", "two → three")
			if err := feed.Close(); err != nil { // it goes on, though its source has ended
				t.Fatal(err)
			}
			write(t, marked("four"))
			says("step set1: body.v three → four", "three → four")
			stop <- os.Interrupt
			if code := <-r.code; code != 0 {
				t.Errorf("the run ended with %d", code)
			}
		})
	}
}

func TestWatchOnce(t *testing.T) {
	here(t, keptPipe)
	if got := command(t, 64, "run", "--watch", "--once"); !strings.Contains(got, "--watch has it go on") {
		t.Error(got)
	}
}
