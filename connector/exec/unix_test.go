//go:build unix

package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/codec/text"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
)

// TestMain wants no goroutine and no child process to be left.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		var status syscall.WaitStatus
		if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
			fmt.Println("a child process is left:", pid, err)
			code = 1
		}
		os.Exit(code)
	}))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// format makes a format as the compiler does.
func format(t testing.TB, name string) penstock.Format {
	t.Helper()
	r := penstock.NewRegistry()
	json.Register(r)
	text.Register(r)
	drv, _ := r.Lookup(penstock.KindOfCodec, name)
	codec, err := drv.BuildCodec(drv.NewConfig(), penstock.CodecOptions{})
	must(t, err)
	return penstock.Format{Name: name, Codec: codec}
}

// program is a template that a function computes.
type program func(f *penstock.Frame) penstock.Value

func (p program) Eval(f *penstock.Frame) penstock.Value { return p(f) }

// varying makes an argument vary: ${body.<name>} with what may stand around it.
func varying(source string) penstock.Template {
	before, rest, _ := strings.Cut(source, "${body.")
	name, after, _ := strings.Cut(rest, "}")
	return penstock.Template{Source: source, Program: program(func(f *penstock.Frame) penstock.Value {
		if err := f.Msg.Body.Parse(jsonview.Limits{}); err != nil {
			return penstock.ErrorValue(err)
		}
		v := penstock.NodeValue(f.Msg.Body, f.Msg.Body.Field(0, name, nil)).Load(f.Arena)
		text, err := v.AppendText(nil)
		if err != nil {
			return penstock.ErrorValue(err)
		}
		return penstock.StringValue(before + string(text) + after)
	})}
}

// shell is a command that runs a script, whose arguments follow.
func shell(script string, arguments ...penstock.Template) []penstock.Template {
	return append(templates("/bin/sh", "-c", script, "sh"), arguments...)
}

func newCaller(t testing.TB, c CallConfig) penstock.Caller {
	t.Helper()
	if c.Format.Codec == nil {
		c.Format = format(t, "json")
	}
	c.InputFormat = format(t, "json")
	k, err := NewCaller(c, penstock.Env{Logger: slog.New(slog.DiscardHandler), Clock: penstock.SystemClock{}})
	must(t, err)
	return k
}

// call asks with a body, and gives the reply.
func call(ctx context.Context, t testing.TB, k penstock.Caller, body string) (string, error) {
	t.Helper()
	b := conform.Batch(body)
	b.Runtime = &penstock.Runtime{Clock: penstock.SystemClock{}}
	into := b.NewMessage()
	if err := k.Call(ctx, b.Frame(b.Msgs[0]), into); err != nil {
		return "", err
	}
	return conform.Text(t, into.Body), nil
}

func TestConformCaller(t *testing.T) {
	conform.Caller(t, conform.CallerHarness{
		New:     func(t testing.TB) penstock.Caller { return newCaller(t, CallConfig{Command: templates("/bin/cat")}) },
		Replies: map[string]string{`"an answer"`: `{"q":"an answer"}`},
	})
	conform.Caller(t, conform.CallerHarness{
		New: func(t testing.TB) penstock.Caller {
			return newCaller(t, CallConfig{Command: shell(`case "$1" in fail) echo no >&2; exit 3;; *) echo "\"$1\"";; esac`, varying("${body.q}"))})
		},
		Replies: map[string]string{`"x"`: `"x"`},
		Fails:   `"fail"`,
	})
}

// TestArguments: whatever stands in a message is one argument, and no program's option.
func TestArguments(t *testing.T) {
	k := newCaller(t, CallConfig{Command: append(templates("/usr/bin/printf", "[%s]\n"), varying("${body.a}"), varying("--name=${body.a}")), Format: format(t, "text")})
	for body, want := range map[string]string{
		`{"a":"plain"}`:                         `"[plain]\n[--name=plain]"`,
		`{"a":"two words"}`:                     `"[two words]\n[--name=two words]"`,
		`{"a":"$(id) ` + "`id`" + `; rm \\\\"}`: `"[$(id) ` + "`id`" + `; rm \\\\]\n[--name=$(id) ` + "`id`" + `; rm \\\\]"`,
		`{"a":"it's \"quoted\" *"}`:             `"[it's \"quoted\" *]\n[--name=it's \"quoted\" *]"`,
		`{"a":"two\nlines"}`:                    `"[two\nlines]\n[--name=two\nlines]"`,
		`{"a":""}`:                              `"[]\n[--name=]"`,
		`{"a":7.50}`:                            `"[7.50]\n[--name=7.50]"`,
	} {
		got, err := call(context.Background(), t, k, body)
		if got = strings.TrimSuffix(got, `\n"`) + `"`; err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", body, got, err, want)
		}
	}
	for body, want := range map[string]string{
		`{"a":"-x"}`:       "argument 2: it begins with a hyphen",
		`{"a":-1}`:         "argument 2: it begins with a hyphen",
		`{"a":"x\u0000y"}`: "argument 2: it has a zero byte",
		`{"a":null}`:       "argument 2: text: null has no text",
		`{}`:               "argument 2: text: the value is absent",
	} {
		if got, err := call(context.Background(), t, k, body); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v; want %s", body, got, err, want)
		}
	}
	k = newCaller(t, CallConfig{Command: append(templates("/usr/bin/printf", "--", "%s"), varying("${body.a}")), Format: format(t, "text")})
	if got, err := call(context.Background(), t, k, `{"a":"-x"}`); err != nil || got != `"-x"` {
		t.Errorf("behind --: %s, %v", got, err)
	}
}

// TestCleanEnvironment: nothing of this process's environment but what is configured; secrets as they are at each start.
func TestCleanEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "leaked")
	t.Setenv("LD_PRELOAD", "leaked")
	dir := t.TempDir()
	values := penstock.NewSecretValues()
	token := penstock.EmptySecret()
	token.Bind(values, "token")
	k := newCaller(t, CallConfig{Command: templates("/usr/bin/env"), Format: format(t, "text"), Process: Process{
		Environment: map[string]penstock.Template{"A": {Source: "1 2"}, "TZ": {Source: "Europe/Berlin"}}, Secrets: map[string]penstock.Secret{"TOKEN": token},
		Directory: penstock.Template{Source: dir, Pos: penstock.Pos{Line: 1}},
	}})
	for _, value := range []string{"value-1", "value-2"} {
		values.Replace(map[string]string{"token": value})
		got, err := call(context.Background(), t, k, "{}")
		want := `"A=1 2\nLANG=C.UTF-8\nPATH=/usr/local/bin:/usr/bin:/bin\nTZ=Europe/Berlin\nTOKEN=` + value + `\nPWD=` + dir + `\n"`
		if got = strings.ReplaceAll(got, `\/`, "/"); err != nil || got != want && got != strings.Replace(want, `PWD=`+dir+`\n`, "", 1) {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	k = newCaller(t, CallConfig{Command: templates("/bin/pwd"), Format: format(t, "text"), Process: Process{Directory: penstock.Template{Source: dir, Pos: penstock.Pos{Line: 1}}}})
	if got, err := call(context.Background(), t, k, "{}"); err != nil || !strings.Contains(got, filepath.Base(dir)) {
		t.Errorf("%s, %v", got, err)
	}
}

func TestFailures(t *testing.T) {
	codes := Run{Codes: map[string]penstock.Code{"3": penstock.NotFound, "75": penstock.Limited}}
	missing := filepath.Join(t.TempDir(), "missing")
	plain := filepath.Join(t.TempDir(), "plain")
	must(t, os.WriteFile(plain, []byte("no program"), 0o600))
	for _, c := range []struct {
		name   string
		config CallConfig
		code   penstock.Code
		want   string
	}{
		{"an exit code", CallConfig{Command: shell("echo some words; echo why >&2; exit 1")}, penstock.Unprocessable, "exec: /bin/sh: it ended with exit code 1: why"},
		{"one that is configured", CallConfig{Command: shell("exit 3"), Run: codes}, penstock.NotFound, "exit code 3"},
		{"one that is configured otherwise than usual", CallConfig{Command: shell("exit 75"), Run: codes}, penstock.Limited, "exit code 75"},
		{"one of sysexits.h", CallConfig{Command: shell("exit 75")}, penstock.Unavailable, "exit code 75"},
		{"a signal", CallConfig{Command: shell("echo last words >&2; kill -SEGV $$")}, penstock.Internal, "it was ended by the signal segmentation fault: last words"},
		{"no program", CallConfig{Command: templates(missing)}, penstock.Config, "it can't be started: no such file or directory (install it, or mend the path)"},
		{"a file that is none", CallConfig{Command: templates(plain)}, penstock.Config, "it can't be started: permission denied"},
		{"no folder", CallConfig{Command: templates("/bin/true"), Process: Process{Directory: penstock.Template{Source: missing, Pos: penstock.Pos{Line: 1}}}}, penstock.Config, "it can't be started: "},
		{"no JSON", CallConfig{Command: shell("echo some words")}, penstock.Invalid, "what it writes is not in the format"},
		{"too much output", CallConfig{Command: shell("while :; do echo 0123456789; done"), MaxOutput: 1000}, penstock.TooLarge, "it writes more than 1000 bytes, and was killed"},
		{"too much of an error", CallConfig{Command: shell(`i=0; while [ $i -lt 3000 ]; do echo "line $i" >&2; i=$((i+1)); done; exit 1`)}, penstock.Unprocessable, "line 2998 line 2999"},
		{"too slow", CallConfig{Command: shell("echo begun >&2; while :; do sleep 100; done"), Run: Run{MaxTime: penstock.Duration(200 * time.Millisecond)}}, penstock.Timeout, "it did not end within 200ms, and was killed"},
		{"arguments without end", CallConfig{Command: append(templates("/bin/true"), varying("${body.long}"))}, penstock.TooLarge, "hand large values over on its standard input"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := call(context.Background(), t, newCaller(t, c.config), `{"long":"`+strings.Repeat("x", 3<<20)+`"}`)
			if penstock.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %v; want %s, %s", got, err, c.code, c.want)
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// TestProgramIsThere holds that a program which can't be started ends the run when it begins.
func TestProgramIsThere(t *testing.T) {
	missing, plain := filepath.Join(t.TempDir(), "missing"), filepath.Join(t.TempDir(), "plain")
	must(t, os.WriteFile(plain, []byte("no program"), 0o600))
	for program, want := range map[string]string{
		"/bin/sh": "",
		missing:   "it can't be started: no such file or directory (install it, or mend the path)",
		plain:     "it can't be started: permission denied (make it a program that the user of penstock may run)",
		"/":       "it can't be started: is a directory",
	} {
		r := &runner{command: newCommand(templates(program))}
		err := r.open()
		if want == "" && err != nil || want != "" && (penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", program, err)
		}
	}
}

func TestReplies(t *testing.T) {
	for _, c := range []struct {
		name, body, want string
		config           CallConfig
	}{
		{"nothing", "{}", "null", CallConfig{Command: templates("/bin/true")}},
		{"a program that does not read", `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, "7", CallConfig{Command: shell("echo 7")}},
		{"a program that reads while it writes", `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, CallConfig{Command: templates("/bin/cat")}},
		{"full", "{}", `{"exit":0,"output":[1,2],"errors":"a warning"}`, CallConfig{Command: shell("echo '[1,2]'; echo a warning >&2"), Reply: "full"}},
		{"full, failed", "{}", `{"exit":3,"output":null,"errors":"why"}`, CallConfig{Command: shell("echo some words; echo why >&2; exit 3"), Reply: "full"}},
	} {
		got, err := call(context.Background(), t, newCaller(t, c.config), c.body)
		if err != nil || got != c.want {
			t.Errorf("%s: %.100s, %v; want %.100s", c.name, got, err, c.want)
		}
	}
}

// alive reports whether the process of a number that stands in a file is still there.
func alive(t *testing.T, file string) bool {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ") // a zombie of the init process is dead
}

// gone waits until a process that was killed is gone.
func gone(t *testing.T, file string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for alive(t, file) {
		select {
		case <-ctx.Done():
			t.Fatalf("the process of %s lives on", filepath.Base(file))
		case <-time.After(time.Millisecond):
		}
	}
}

// TestNobodyIsLeftBehind: whatever a program has started ends with it, also what has left its group, and also if it holds the pipes.
func TestNobodyIsLeftBehind(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("processes can't be looked at here")
	}
	dir := t.TempDir()
	pid := func(name string) string { return filepath.Join(dir, name) }
	// Each child writes its number and sleeps, holding the pipes of the program.
	child := `/bin/sh -c 'echo $$ > "$1.new"; mv "$1.new" "$1"; exec sleep 1000' sh `
	wait := `while [ ! -e "$1" ]; do sleep 0.01; done; `
	for _, c := range []struct {
		name, script string
		code         penstock.Code
	}{
		{"ended, with a child in the background", child + `"$1" & ` + wait + `echo 1`, ""},
		{"too slow, with a child", child + `"$1" & ` + wait + `wait`, penstock.Timeout},
		{"too slow, with a child that has a session of its own", `setsid ` + child + `"$1" & ` + wait + `wait`, penstock.Timeout},
		{"too slow, and deaf to signals", `trap '' TERM INT HUP; ` + child + `"$1" & ` + wait + `while :; do sleep 100; done`, penstock.Timeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := pid(strings.ReplaceAll(c.name, " ", "-"))
			k := newCaller(t, CallConfig{Command: shell(c.script, penstock.Template{Source: file})})
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if c.code != "" {
				var stop context.CancelCauseFunc
				ctx, stop = context.WithCancelCause(ctx)
				go func() { // once the child is there
					for ctx.Err() == nil {
						if _, err := os.Stat(file); err == nil {
							stop(context.DeadlineExceeded)
						}
						<-time.After(time.Millisecond)
					}
				}()
			}
			got, err := call(ctx, t, k, "{}")
			if penstock.CodeOf(err) != c.code {
				t.Errorf("%s, %v", got, err)
			}
			gone(t, file)
		})
	}
}

func TestConformSink(t *testing.T) {
	conform.Sink(t, conform.SinkHarness{
		Refused: `{"n":"refuse"}`,
		New: func(t testing.TB) conform.SinkMedium {
			file := filepath.Join(t.TempDir(), "out")
			must(t, os.WriteFile(file, nil, 0o600))
			return conform.SinkMedium{
				Sink: func(t testing.TB) penstock.Sink {
					c := SinkConfig{Command: shell(`read -r line; case "$line" in *refuse*) exit 65;; esac; printf '%s\n' "$line" >> "$1"`, penstock.Template{Source: file}), InputFormat: format(t, "json")}
					s, err := NewSink(c, penstock.Env{Logger: slog.New(slog.DiscardHandler)})
					must(t, err)
					return s
				},
				Written: func(t testing.TB) []string {
					text, err := os.ReadFile(file)
					must(t, err)
					return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")[:strings.Count(string(text), "\n")]
				},
			}
		},
	})
}

// TestSinkKeepsTheOrderOfAKey: behind a message that is to be tried again, those of its key wait.
func TestSinkKeepsTheOrderOfAKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	c := SinkConfig{Command: shell(`read -r l; case "$l" in *later*) exit 75;; *bad*) exit 1;; esac; printf '%s ' "$l" >> "$1"`, penstock.Template{Source: file}), InputFormat: format(t, "json")}
	s, err := NewSink(c, penstock.Env{})
	must(t, err)
	b := conform.Batch(`1`, `"later"`, `3`, `4`, `"bad"`, `6`)
	b.Runtime = &penstock.Runtime{Clock: penstock.SystemClock{}}
	for i, key := range []string{"a", "a", "a", "b", "b", "b"} {
		b.Msgs[i].Key = key
	}
	var each *penstock.BatchError
	if err := s.Write(context.Background(), b); !errors.As(err, &each) || len(each.Errs) != 3 {
		t.Fatal(err)
	}
	for i, code := range map[int]penstock.Code{1: penstock.Unavailable, 2: penstock.Unavailable, 4: penstock.Unprocessable} {
		if penstock.CodeOf(each.Errs[i]) != code {
			t.Errorf("message %d: %v", i, each.Errs[i])
		}
	}
	if text, _ := os.ReadFile(file); string(text) != "1 4 6 " {
		t.Errorf("written: %s", text)
	}
}

func newSource(t testing.TB, c SourceConfig, log io.Writer) penstock.Source {
	t.Helper()
	c.Format = format(t, "json")
	s, err := NewSource(c, penstock.Env{Name: "f/from", Logger: slog.New(slog.NewTextHandler(log, nil)), Clock: penstock.SystemClock{}})
	must(t, err)
	return s
}

func TestConformSource(t *testing.T) {
	conform.Source(t, conform.SourceHarness{
		Spec:     penstock.Spec{Name: "exec", Settle: penstock.Cumulative, Finite: true},
		Features: conform.SourceFeatures{Finite: true, Ordered: true},
		Fill: func(t testing.TB, bodies []string) func(testing.TB) penstock.Source {
			file := filepath.Join(t.TempDir(), "in")
			must(t, os.WriteFile(file, []byte(strings.Join(bodies, "\n")), 0o600))
			return func(t testing.TB) penstock.Source {
				return newSource(t, SourceConfig{Command: templates("/bin/cat", file)}, io.Discard)
			}
		},
	})
}

// readAll reads until an error.
func readAll(ctx context.Context, t *testing.T, s penstock.Source) (out []string, err error) {
	t.Helper()
	for {
		var b penstock.Batch
		if err := s.Read(ctx, &b); err != nil {
			return out, err
		}
		for _, m := range b.Msgs {
			out = append(out, conform.Text(t, m.Body)+" "+m.Pos.Stream)
		}
	}
}

func TestRestart(t *testing.T) {
	for _, c := range []struct {
		restart, script string
		once            bool
		again           bool
		want            string
	}{
		{"onFailure", "echo 1; echo why >&2; exit 3", false, true, "it ended with exit status 3: why"},
		{"onFailure", "echo 1", false, false, "EOF"},
		{"onFailure", "echo 1; exit 3", true, false, "it ended with exit status 3"},
		{"always", "echo 1", false, true, "it has ended"},
		{"always", "echo 1", true, false, "EOF"},
		{"never", "echo 1; exit 3", false, false, "it ended with exit status 3"},
		{"never", "echo 1; kill -KILL $$", false, false, "it ended with signal: killed"},
	} {
		ctx := context.Background()
		var log bytes.Buffer
		s := newSource(t, SourceConfig{Command: shell(c.script), Restart: c.restart}, &log)
		s.(*source).env.Once = c.once
		for round := 1; round <= 2; round++ {
			must(t, s.Open(ctx))
			got, err := readAll(ctx, t, s)
			want := "1 exec"
			if round > 1 {
				want += "#2"
			}
			if len(got) != 1 || got[0] != want || !strings.Contains(err.Error(), c.want) || errors.Is(err, penstock.ErrDisconnected) != c.again {
				t.Errorf("%s, %s, once %v: %q, %v", c.restart, c.script, c.once, got, err)
			}
			if !c.again {
				break
			}
		}
		must(t, s.Close(ctx))
		if strings.Contains(c.script, ">&2") && !strings.Contains(log.String(), "msg=why") {
			t.Errorf("its errors are not logged: %s", log.String())
		}
	}
	s := newSource(t, SourceConfig{Command: templates("/no/such/program")}, io.Discard)
	if err := s.Open(context.Background()); penstock.CodeOf(err) != penstock.Config {
		t.Error(err)
	}
	must(t, s.Close(context.Background()))
}

// TestEndOfSource: it is asked to end, may still write, and is killed when its grace is over, with what it has started.
func TestEndOfSource(t *testing.T) {
	for _, c := range []struct {
		name, script string
		grace        time.Duration
	}{
		{"it obeys", `trap 'i=0; while [ $i -lt 20000 ]; do echo "[0,1,2,3,4,5,6,7,8,9]"; i=$((i+1)); done; echo ended > "$1"; exit 0' TERM; echo 1; while :; do sleep 0.01; done`, time.Minute},
		{"it is deaf", `trap '' TERM; echo 1; sleep 1000 & wait; while :; do sleep 100; done`, 50 * time.Millisecond},
		{"no grace", `trap 'echo ended > "$1"' TERM; echo 1; while :; do sleep 0.01; done`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "words")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			s := newSource(t, SourceConfig{Command: shell(c.script, penstock.Template{Source: file}), Grace: penstock.Duration(c.grace)}, io.Discard)
			must(t, s.Open(ctx))
			must(t, s.Read(ctx, new(penstock.Batch)))
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := s.Read(ctx, new(penstock.Batch)); !errors.Is(err, context.Canceled) {
					t.Errorf("Read while it is stopped: %v", err)
				}
			})
			cancel()
			wg.Wait()
			must(t, s.Close(context.Background()))
			if _, err := os.Stat(file); (err == nil) != (c.name == "it obeys") {
				t.Errorf("its last words: %v", err)
			}
		})
	}
}
