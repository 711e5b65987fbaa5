package mqtt

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxTopic is how many bytes a topic has at most (MQTT 5, section 4.7.3).
const maxTopic = 65535

// checkTopic refuses what is no topic to publish to (MQTT 5, section 4.7).
func checkTopic(s string) error {
	switch {
	case s == "":
		return errors.New("the topic is empty")
	case strings.ContainsAny(s, "+#"):
		return fmt.Errorf("the topic %.80q has a wildcard: + and # are for subscribing", s)
	}
	return checkText(s, "topic")
}

// checkFilter refuses what is no topic filter (MQTT 5, section 4.7.1).
func checkFilter(s string) error {
	if s == "" {
		return errors.New("a topic filter is empty")
	}
	if strings.HasPrefix(s, "$share/") {
		return fmt.Errorf("the topic filter %.80q: say `share: <name>` in place of $share", s)
	}
	levels := strings.Split(s, "/")
	for i, l := range levels {
		switch {
		case l == "#" && i < len(levels)-1:
			return fmt.Errorf("the topic filter %.80q: # stands at the end only", s)
		case l != "#" && l != "+" && strings.ContainsAny(l, "+#"):
			return fmt.Errorf("the topic filter %.80q: + and # stand alone between slashes", s)
		}
	}
	return checkText(s, "topic filter")
}

func checkText(s, what string) error {
	switch {
	case len(s) > maxTopic:
		return fmt.Errorf("the %s has %d bytes, and MQTT takes %d at most", what, len(s), maxTopic)
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return fmt.Errorf("the %s is no text in UTF-8 without NUL", what)
	}
	return nil
}

// matches says that a topic fits a filter (MQTT 5, section 4.7): + is one level, # all further ones and the one before; neither fits a topic that begins
// with $ in its first level.
func matches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	for {
		if filter == "#" {
			return true
		}
		f, moreF, downF := strings.Cut(filter, "/")
		t, moreT, downT := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		switch {
		case !downF && !downT:
			return true
		case downF && !downT:
			return moreF == "#"
		case !downF:
			return false
		}
		filter, topic = moreF, moreT
	}
}
