package samples_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/samples"
	"penstock.dev/penstock/internal/run"
)

func shown(flow, id, step, what, body string, more func(*run.Shown)) run.Shown {
	s := run.Shown{Glimpse: run.Glimpse{Time: time.Unix(1, 0), Flow: flow, ID: id, Step: step, What: what, Body: []byte(body), Meta: []byte("{}")}}
	if more != nil {
		more(&s)
	}
	return s
}

func first(s *run.Shown) { s.First, s.Key = true, "k" }

func died(s *run.Shown) {
	s.Cause, s.At, s.Came = penstock.E(penstock.Unprocessable, "check", "body.n", "too many"), "check", []byte(`{"n":1}`)
	s.Error = s.Cause.Error()
}

func open(t *testing.T, dir string, each int) *samples.Keeper {
	t.Helper()
	k, err := samples.Open(dir, each)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSamplesAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "samples")
	k := open(t, dir, 3)
	k.See(shown("a", "m:1", "", "came", `{"n":1}`, first))
	k.See(shown("a", "m:1", "one", "in", `{"n":1}`, nil))
	k.See(shown("a", "m:1", "two", "in", `{"n":2}`, nil))
	if id := k.See(shown("a", "m:1", "", "done", `{"n":3}`, nil)); id != "a#1" {
		t.Errorf("the id is %s", id)
	}
	k.See(shown("a", "m:2", "", "dead", `{"n":9}`, died))
	if err := k.Save(); err != nil {
		t.Fatal(err)
	}
	s, err := samples.Load(dir, "a#1")
	if err != nil {
		t.Fatal(err)
	}
	if s.Message != "m:1" || fmt.Sprintf("%q", s.Input.Body) != fmt.Sprintf("%q", "{\n    \"n\": 1\n  }") && !strings.Contains(string(s.Input.Body), `"n": 1`) || s.Input.Key != "k" || len(s.Steps) != 2 || s.Steps[1].Step != "two" || s.Ends[0].What != "done" {
		t.Errorf("%+v", s)
	}
	if s, err = samples.Load(dir, "a#2"); err != nil || s.Ends[0].Step != "check" || *s.Ends[0].Error != penstock.Unprocessable || !strings.Contains(string(s.Input.Body), `"n": 1`) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSamplesAreBounded(t *testing.T) {
	dir := t.TempDir()
	k := open(t, dir, 3)
	for i := range 10 {
		k.See(shown("a", fmt.Sprint("m:", i), "one", "in", `"`+strings.Repeat("x", i*10<<10)+`"`, first))
		if i%4 == 0 {
			if err := k.Save(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := k.Save(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Join(dir, "a"))
	if err != nil || len(files) != 3 {
		t.Errorf("%v, %v", files, err)
	}
	if s, err := samples.Load(dir, "a#10"); err != nil || !s.Input.Cut || string(s.Input.Body) != "null" {
		t.Errorf("%+v, %v", s, err)
	}
	again := open(t, dir, 3) // another process goes on
	if got := again.List("a"); len(got) != 3 || got[0].ID != "a#10" && got[0].ID != "a#8" {
		t.Errorf("%+v", got)
	}
	if id := again.See(shown("a", "m:1", "one", "in", `1`, first)); id != "a#11" {
		t.Errorf("the id is %s", id)
	}
}

func TestNoSuchSample(t *testing.T) {
	dir := t.TempDir()
	for id, code := range map[string]penstock.Code{"a#1": penstock.NotFound, "a": penstock.Invalid, "#1": penstock.Invalid, "../a#1": penstock.Invalid, "a#x": penstock.Invalid, "a#-1": penstock.Invalid} {
		if _, err := samples.Load(dir, id); penstock.CodeOf(err) != code {
			t.Errorf("%s: %v", id, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "1.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := samples.Load(dir, "a#1"); penstock.CodeOf(err) != penstock.Internal {
		t.Error(err)
	}
	if got := open(t, dir, 0).List(""); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	var e *penstock.Error
	if _, err := samples.Open(filepath.Join(dir, "a", "1.json"), 0); !errors.As(err, &e) {
		t.Error(err)
	}
}
