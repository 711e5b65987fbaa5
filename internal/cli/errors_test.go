package cli

import (
	"errors"
	"fmt"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
)

func TestTrouble(t *testing.T) {
	inner := &penstock.Error{Code: penstock.NotFound, Op: "file.read", Path: "data/a.csv", Err: errors.New("no such file"), Hint: "look at the path"}
	for _, tc := range []struct {
		name string
		err  error
		want trouble
	}{
		{"one", inner, trouble{"error", penstock.NotFound, "file.read: no such file", "data/a.csv", "look at the path"}},
		{
			"all operations, and all places",
			&penstock.Error{Code: penstock.NotFound, Op: "open orders/from", Path: "f.yaml:3:4", Err: inner},
			trouble{"error", penstock.NotFound, "open orders/from: file.read: no such file", "data/a.csv, by f.yaml:3:4", "look at the path"},
		},
		{"a plain error", errors.New("boom"), trouble{Type: "error", Code: penstock.Internal, Message: "boom"}},
		{"no cause", &penstock.Error{Code: penstock.Timeout, Op: "drain"}, trouble{Type: "error", Code: penstock.Timeout, Message: "drain: timeout"}},
		{"a wrong command line", usagef("h", "m"), trouble{Type: "error", Code: "usage", Message: "m", Hint: "h"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := troubleOf(tc.err); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestJoinedErrorsAreShownOneByOne(t *testing.T) {
	a, b, c := errors.New("a"), errors.New("b"), errors.New("c")
	err := errors.Join(a, &penstock.Error{Code: penstock.Config, Op: "start", Err: errors.Join(b, c)})
	var got []string
	for _, e := range flatten(err) {
		got = append(got, e.Error())
	}
	if want := "[a start: b start: c]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestExitCodes(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{&penstock.Error{Code: penstock.Unavailable}, 1},
		{&penstock.Error{Code: penstock.Config}, 2},
		{fmt.Errorf("w: %w", &penstock.Error{Code: penstock.Config}), 2},
		{exitWith(3), 3},
		{usagef("", "x"), 64},
		{control.ErrAborted, 130},
	} {
		if got := exitCode(tc.err); got != tc.want {
			t.Errorf("exitCode(%v) = %d, want %d", tc.err, got, tc.want)
		}
	}
}
