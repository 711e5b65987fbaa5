package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

// leaky is a sink that does with its password what others' programs do: it quotes it when it is refused.
type leaky struct{ config leakyConfig }

type leakyConfig struct {
	Password penstock.Secret `json:"password"`
	At       string          `json:"at"` // open, write
}

func (s leaky) Open(context.Context) error {
	if s.config.At == "open" {
		return s.refuse()
	}
	return nil
}

func (s leaky) Write(_ context.Context, b *penstock.Batch) error {
	if s.config.At == "" {
		return nil
	}
	each := &penstock.BatchError{Errs: map[int]error{}}
	for i := range b.Msgs {
		each.Errs[i] = s.refuse()
	}
	return each
}

func (s leaky) refuse() error {
	return &penstock.Error{Code: penstock.Forbidden, Op: "leaky", Path: "db/" + s.config.Password.Reveal(), Err: fmt.Errorf("password %q is wrong", s.config.Password.Reveal())}
}

func (leaky) Close(context.Context) error { return nil }

func leakyRegistry(made func(leakyConfig)) *penstock.Registry {
	r := edition.Standard()
	penstock.RegisterSink(r, penstock.Spec{Name: "leaky"}, func(c leakyConfig, _ penstock.Env) (penstock.Sink, error) {
		if made != nil {
			made(c)
		}
		return leaky{c}, nil
	})
	return r
}

const leaking = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: shop }
spec: { secrets: { provider: folder, path: %q } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: f }
spec:
  from: { stdin: { format: { json: {} } } }
  steps:
    - try:
        steps: [ { to: { leaky: { password: { secret: db-password }, at: write } } } ]
        catch:
          - to: { stdout: { format: { json: {} } }, body: { error: "${error}" } }
          - fail: { code: conflict, message: "again: ${error.message}" }
  to: { leaky: { password: { secret: db-password }%s } }
`

func put(t *testing.T, dir, name, value string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.WriteFile(path+".new", []byte(value+"\n"), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// TestSecretsThatLeakAreHidden: what a driver's error quotes is seen nowhere: neither in messages nor in dead letters, summaries, logs and
// the error that a run ends with.
func TestSecretsThatLeakAreHidden(t *testing.T) {
	const password = "correct-horse"
	for _, at := range []string{"write", "open"} {
		t.Run(at, func(t *testing.T) {
			secrets, dead := t.TempDir(), t.TempDir()
			put(t, secrets, "db-password", password)
			s := &control.Service{Registry: leakyRegistry(nil)}
			c := checked(t, s, fmt.Sprintf(leaking, secrets, map[string]string{"open": ", at: open"}[at]))
			var out, log bytes.Buffer
			sum, err := s.Run(context.Background(), c, control.RunOptions{
				Stdin: strings.NewReader(`{"a":1}`), Stdout: &out, DeadLetters: dead, Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			})
			text, _ := json.Marshal(sum)
			all := map[string]string{"standard output": out.String(), "the log": log.String(), "the summary": string(text)}
			if err != nil {
				all["the error"] = fmt.Sprintf("%v %+v", err, err)
			}
			files, _ := filepath.Glob(filepath.Join(dead, "*"))
			for _, f := range files {
				b, _ := os.ReadFile(f)
				all[f] = string(b)
			}
			hidden := 0
			for where, text := range all {
				if strings.Contains(text, password) {
					t.Errorf("%s holds it: %s", where, text)
				}
				hidden += strings.Count(text, "[redacted]")
			}
			want := 4 // output, dead letter, summary: twice in the first
			if at == "open" {
				want = 2
			}
			if hidden < want {
				t.Errorf("hidden %d times, want %d at least: %s", hidden, want, all)
			}
		})
	}
}

// TestRotatedSecretReachesDrivers: a value that changes in the folder is revealed by what a running driver holds, and one that is taken away
// stays.
func TestRotatedSecretReachesDrivers(t *testing.T) {
	secrets := t.TempDir()
	put(t, secrets, "db-password", "value-1")
	held := make(chan leakyConfig, 2)
	s := &control.Service{Registry: leakyRegistry(func(c leakyConfig) { held <- c })}
	c := checked(t, s, fmt.Sprintf(leaking, secrets, ""))
	in, feed := io.Pipe()
	log := &lines{c: make(chan string, 100)}
	done := make(chan error)
	go func() {
		_, err := s.Run(context.Background(), c, control.RunOptions{Stdin: in, Stdout: io.Discard, DeadLetters: t.TempDir(), Logger: slog.New(slog.NewTextHandler(log, nil))})
		done <- err
	}()
	configs := []leakyConfig{<-held, <-held}
	for i := 1; i <= 3; i++ {
		want := fmt.Sprintf("value-%d", i)
		if i > 1 {
			put(t, secrets, "db-password", want)
			log.wait("a secret has a new value")
		}
		for _, c := range configs {
			if got := c.Password.Reveal(); got != want {
				t.Errorf("revealed %s, want %s", got, want)
			}
		}
	}
	if err := os.Remove(filepath.Join(secrets, "db-password")); err != nil {
		t.Fatal(err)
	}
	log.wait("its last value stays in use")
	if got := configs[0].Password.Reveal(); got != "value-3" {
		t.Errorf("taken away: %s", got)
	}
	_ = feed.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// lines hands over what is logged.
type lines struct {
	mu sync.Mutex
	c  chan string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.c <- string(p)
	return len(p), nil
}

func (l *lines) wait(text string) {
	for line := range l.c {
		if strings.Contains(line, text) {
			return
		}
	}
}

// TestMissingSecrets: all at once, with their places; nothing was begun.
func TestMissingSecrets(t *testing.T) {
	s := &control.Service{Registry: leakyRegistry(nil)}
	c := checked(t, s, strings.Replace(fmt.Sprintf(leaking, t.TempDir(), ""), "secret: db-password", "secret: another", 1))
	_, err := s.Run(context.Background(), c, control.RunOptions{Stdin: strings.NewReader(""), Stdout: io.Discard})
	if err == nil || penstock.CodeOf(err) != penstock.Config {
		t.Fatal(err)
	}
	for _, want := range []string{"flows.yaml:13:55: the secret another is not there (put it into the file ", "flows.yaml:17:38: the secret db-password is not there"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}
