package main

import (
	"io"
	"strings"
	"testing"
)

func TestOnly(t *testing.T) {
	for _, c := range []struct {
		args  []string
		want  string // the cases, or
		fault string
	}{
		{[]string{"-only", "store"}, "store-publishers store-flow store-aggregate store-dedupe store-small store-behind store-restart store-soak events events-many view jobs job-ways takeover", ""},
		{[]string{"-only", "store-soak,check", "-soak", "1h"}, "check store-soak", ""},
		{[]string{"-only", "pulsar,kafka"}, "kafka pulsar", ""},
		{[]string{}, strings.Join(names(), " "), ""},
		{[]string{"-only", "stores"}, "", "there is no case"},
		{[]string{"-rounds", "0"}, "", "at least 1 round"},
		{[]string{"store"}, "", "unexpected argument"},
	} {
		o, err := parse(c.args, "", io.Discard)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%v: %v", c.args, err)
			}
			continue
		}
		var got []string
		for _, n := range names() {
			if o.measured[n] {
				got = append(got, n)
			}
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%v: %v, %v", c.args, got, err)
		}
	}
}
