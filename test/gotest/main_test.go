package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAgain: what fails once passes with -again, and only with it; what fails always does not. Where the race detector breaks down there is no verdict, and it is asked again.
func TestAgain(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module steady\n\ngo 1.26\n")
	write("a_test.go", `package steady

import (
	"os"
	"testing"
)

func TestFirst(t *testing.T) {
	if _, err := os.Stat("broke down"); err != nil {
		TestDetector(t)
	}
	if _, err := os.Stat("was here"); err != nil {
		t.Fatal(os.WriteFile("was here", nil, 0o600))
	}
}

func TestDetector(t *testing.T) {
	if _, err := os.Stat("broke down"); err != nil {
		_, _ = os.Stderr.WriteString("ThreadSanitizer: CHECK failed: x.cpp:1")
		_ = os.WriteFile("broke down", nil, 0o600)
		os.Exit(66)
	}
}

func TestAlways(t *testing.T) {
	if os.Getenv("ALWAYS") != "" {
		t.Fatal("always")
	}
}
`)
	t.Chdir(dir)
	write("broke down", "")
	for _, c := range []struct {
		args   []string
		always string
		breaks bool
		want   int
	}{
		{[]string{"-timeout", "1m", "./..."}, "", false, 1},
		{[]string{"-again", "-timeout", "1m", "./..."}, "", false, 0},
		{[]string{"-again", "-timeout=1m", "./..."}, "", true, 0},
		{[]string{"-again", "-timeout=1m", "./..."}, "yes", false, 1},
	} {
		t.Setenv("ALWAYS", c.always)
		if err := os.RemoveAll("was here"); err != nil {
			t.Fatal(err)
		}
		if c.breaks {
			if err := os.RemoveAll("broke down"); err != nil {
				t.Fatal(err)
			}
		}
		if got := run(c.args); got != c.want {
			t.Errorf("%v, ALWAYS=%q: exit code %d, not %d", c.args, c.always, got, c.want)
		}
	}
}
