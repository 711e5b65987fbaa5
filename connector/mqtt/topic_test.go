package mqtt

import (
	"strings"
	"testing"
)

func TestTopicsAndFilters(t *testing.T) {
	for _, bad := range []string{"", "a/+", "#", "a\x00b", "a\xff", strings.Repeat("x", maxTopic+1)} {
		if checkTopic(bad) == nil {
			t.Errorf("%.20q is taken for a topic", bad)
		}
	}
	for _, good := range []string{"a", "/", "a//b", "$SYS/x", "ü/ß", strings.Repeat("x", maxTopic)} {
		if err := checkTopic(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "a#", "a/#/b", "a+/b", "+a", "$share/g/a", "a\x00"} {
		if checkFilter(bad) == nil {
			t.Errorf("%q is taken for a topic filter", bad)
		}
	}
	for _, good := range []string{"#", "+", "a/+/b/#", "+/+", "/", "a//+"} {
		if err := checkFilter(good); err != nil {
			t.Error(err)
		}
	}
}

// TestMatches: the examples of MQTT 5, section 4.7.1, and those around them.
func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter string
		yes    string
		no     string
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1 sport/tennis/player1/ranking sport/tennis/player1/score/wimbledon", "sport/tennis sport/tennis/player2"},
		{"sport/#", "sport sport/ sport/a/b", "sports spor"},
		{"#", "a a/b /", "$SYS $SYS/a"},
		{"sport/tennis/+", "sport/tennis/player1 sport/tennis/", "sport/tennis sport/tennis/player1/ranking"},
		{"+", "finance", "/finance a/b $SYS"},
		{"+/+", "/finance a/b", "finance a/b/c"},
		{"/+", "/finance", "finance"},
		{"+/monitor/Clients", "a/monitor/Clients", "$SYS/monitor/Clients"},
		{"$SYS/#", "$SYS $SYS/a", "SYS/a"},
		{"a/b", "a/b", "a a/b/c a/B"},
		{"a/+/c/#", "a/b/c a//c/d", "a/b a/b/d"},
	} {
		for topic := range strings.FieldsSeq(c.yes) {
			if !matches(c.filter, topic) {
				t.Errorf("%s does not match %s", c.filter, topic)
			}
		}
		for topic := range strings.FieldsSeq(c.no) {
			if matches(c.filter, topic) {
				t.Errorf("%s matches %s", c.filter, topic)
			}
		}
	}
}

// FuzzMatches: what a filter is checked for is enough for matching to end, and a topic matches itself.
func FuzzMatches(f *testing.F) {
	for _, s := range []string{"a/b", "+/+", "#", "/", "a//#", "$SYS/+"} {
		f.Add(s, "a/b")
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		got := matches(filter, topic)
		if checkTopic(topic) != nil {
			return
		}
		if !matches(topic, topic) {
			t.Errorf("%q does not match itself", topic)
		}
		if checkFilter(filter) == nil && !strings.ContainsAny(filter, "+#") && got != (filter == topic) {
			t.Errorf("%q and %q: %v", filter, topic, got)
		}
	})
}
