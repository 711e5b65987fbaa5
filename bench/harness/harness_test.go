package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the program that is measured.
func TestMain(m *testing.M) {
	switch os.Getenv("HARNESS_ACTS") {
	case "":
		os.Exit(m.Run())
	case "work":
		block := make([]byte, 64<<20)
		for i := range block {
			block[i] = byte(i)
		}
		fmt.Println("first")
		for start := time.Now(); time.Since(start) < 30*time.Millisecond; {
			block[len(block)/2]++
		}
		fmt.Println("last", block[7])
	case "fail":
		fmt.Fprintln(os.Stderr, "no such flow")
		os.Exit(3)
	}
}

func TestRunMeasures(t *testing.T) {
	t.Setenv("HARNESS_ACTS", "work")
	m, err := Run(context.Background(), os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if m.MaxRSS < 64<<20 || m.MaxRSS > 1<<30 {
		t.Errorf("MaxRSS %d", m.MaxRSS)
	}
	if m.CPU <= 0 || m.Wall <= 0 || m.FirstLine <= 0 || m.FirstLine > m.Wall {
		t.Errorf("%+v", m)
	}
	if got := string(m.Stdout); got != "first\nlast 7\n" {
		t.Errorf("standard output %q", got)
	}
}

func TestRunReportsFailure(t *testing.T) {
	t.Setenv("HARNESS_ACTS", "fail")
	if _, err := Run(context.Background(), os.Args[0]); err == nil || !strings.Contains(err.Error(), "no such flow") {
		t.Errorf("%v", err)
	}
	if _, err := Run(context.Background(), filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("a program that is not there ran")
	}
}

func TestAlternateTakesTurns(t *testing.T) {
	var order []string
	side := func(name string) Side {
		return Side{name, func(context.Context) (Measurement, error) {
			order = append(order, name)
			return Measurement{Wall: time.Duration(len(order)) * time.Second, Stdout: []byte("x")}, nil
		}}
	}
	runs, err := Alternate(context.Background(), []Side{side("a"), side("b"), side("c")}, 2, true, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "c", "a", "b", "c", "b", "c", "a"}; !slices.Equal(order, want) {
		t.Errorf("order %v", order)
	}
	if got := runs[0].Over(func(m Measurement) float64 { return m.Wall.Seconds() }); got != (Spread{6.5, 4, 9}) {
		t.Errorf("%+v", got)
	}
	broken := errors.New("broken")
	_, err = Alternate(context.Background(), []Side{{"a", func(context.Context) (Measurement, error) { return Measurement{}, broken }}}, 1, false, nil)
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{9, 1, 5}, Spread{5, 1, 9}},
		{[]float64{4, 1, 3, 2}, Spread{2.5, 1, 4}},
	} {
		if got := SpreadOf(c.in); got != c.want {
			t.Errorf("%v: %+v", c.in, got)
		}
	}
}

func TestCountLines(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	for _, c := range []struct {
		text, first string
		n           int
	}{{"", "", 0}, {"a\nb\n", "a", 2}, {"a\nb", "a", 1}, {long + "\nb\n", long, 2}} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, first, err := CountLines(path); err != nil || n != c.n || string(first) != c.first {
			t.Errorf("%.10q: %d lines, first %.10q, %v", c.text, n, first, err)
		}
	}
	if _, _, err := CountLines(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("counted the lines of no file")
	}
}
