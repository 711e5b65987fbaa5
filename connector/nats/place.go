package nats

import (
	"errors"
	"strings"
	"time"
)

// place says where a message of JetStream is, and how often it came. It stands in the subject that it is acknowledged on:
// $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending> (ADR-15 of nats-architecture-and-design), with
// <domain>.<account hash> behind $JS.ACK, and a random token at the end, of newer servers.
type place struct {
	delivered uint64 // 1 is the first time
	seq       uint64 // in the stream
	turn      uint64 // of the consumer: deliveries are numbered without gaps, redeliveries with them
	at        time.Time
	pending   uint64 // messages behind it that were not delivered yet
}

var errPlace = errors.New("the message was not sent by a consumer of JetStream")

// placeOf reads a reply subject.
func placeOf(reply string) (p place, err error) {
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	if !ok {
		return p, errPlace
	}
	tokens := strings.Count(rest, ".") + 1
	skip := 2 // stream, consumer
	switch {
	case tokens == 7:
	case tokens >= 9: // domain and account before, and perhaps more behind
		skip = 4
	default:
		return p, errPlace
	}
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var n [5]uint64
	for i := range n {
		var token string
		token, rest, _ = strings.Cut(rest, ".")
		if n[i], ok = number(token); !ok {
			return place{}, errPlace
		}
	}
	if n[0] == 0 || n[1] == 0 || n[1] >= 1<<63-1 {
		return place{}, errPlace
	}
	return place{delivered: n[0], seq: n[1], turn: n[2], at: time.Unix(0, int64(n[3])).UTC(), pending: n[4]}, nil //nolint:gosec // the server's clock
}

// number reads a decimal number of at most 19 digits.
func number(s string) (n uint64, ok bool) {
	if s == "" || len(s) > 19 {
		return 0, false
	}
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	return n, true
}
