package main

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

func TestParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	do := func(args ...string) (string, error) {
		var out strings.Builder
		err := run(context.Background(), append(args[:1:1], append([]string{"-store", path}, args[1:]...)...), &out)
		return out.String(), err
	}
	for _, c := range []struct {
		args  []string
		want  string // of what it prints
		fault string
	}{
		{[]string{"publishers", "-for", "20ms", "-publishers", "4"}, `"rate"`, ""},
		{[]string{"small", "-for", "20ms"}, `"p99"`, ""},
		{[]string{"small", "-for", "20ms", "-alone", "-channel", "x"}, "", "acknowledged"}, // channel events has those of before, too
		{[]string{"events", "-for", "50ms", "-publishers", "64"}, `"batched"`, ""},
		{[]string{"history", "-events", "1000"}, "", "were acknowledged"}, // those of before are there, too
		{[]string{"history", "-events", "1000", "-alone"}, `"filled"`, ""},
		{[]string{"append", "-for", "20ms", "-keys", "10"}, `"append to a new one"`, ""},
		{[]string{"view"}, "", "moves"}, // those of before were of other amounts
		{[]string{"jobs", "-jobs", "500", "-for", "50ms"}, `"enqueued singly"`, ""},
		{[]string{"jobs", "-postgres", "postgres://127.0.0.1:1/x"}, "", "not both"},
		{[]string{"fill", "-messages", "12345", "-group", "f/from", "-left", "5"}, `"filled"`, ""},
		{[]string{"verify", "-messages", "12345", "-group", "f/from"}, "", "has not had all"},
		{[]string{"verify", "-messages", "12344", "-group", "f/from"}, "", "has had 12345"},
		{[]string{"verify", "-messages", "12345", "-group", "g/from"}, "", "nobody reads"},
		{[]string{"fill", "-messages", "0", "-group", "f/from"}, "", ""},
		{[]string{"behind", "-messages", "12345", "-for", "5s", "-pace", "100", "-publishers", "2"}, `"catch-up"`, ""},
		{[]string{"keys", "-keys", "12000", "-space", "f/once"}, `"filled"`, ""},
		{[]string{"keys", "-keys", "1"}, "", "-space"},
		{[]string{"verify", "-x"}, "", "not defined"},
	} {
		out, err := do(c.args...)
		if c.fault == "" && (err != nil || !strings.Contains(out, c.want)) || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%v: %s, %v", c.args, out, err)
		}
	}
	path = filepath.Join(t.TempDir(), "view.db")
	for range 2 { // the second finds the events of the first
		if out, err := do("view", "-events", "5432", "-keys", "70"); err != nil || !strings.Contains(out, `"rows","unit":"","value":70}`) {
			t.Errorf("view: %s, %v", out, err)
		}
	}
	if err := run(context.Background(), []string{"nothing"}, io.Discard); err == nil {
		t.Error("no error")
	}
}
