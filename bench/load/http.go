package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// HTTPLoad sends one request after the other on each of a number of connections, and waits for the answer of each before it sends the
// next. It does as little as it can beside that, so that what is measured is the server: it sends the same bytes each time and looks at no more of an
// answer than its status and its length.
type HTTPLoad struct {
	Address     string // host:port
	Request     []byte // one request, whole
	Want        []byte // the body that each answer must have
	Connections int
	Warm        time.Duration // before counting
	Duration    time.Duration
}

// AllRequests is the figure of all requests that were sent, also before counting began.
const AllRequests = "requests"

// tally is what was seen of the connections.
type tally struct {
	took []time.Duration // of each request that counts, until its answer was whole
	all  int             // with those before counting began
	err  error
}

// longestAnswer is how long an answer may take before the load gives up.
const longestAnswer = 30 * time.Second

// Run makes the load, from one thread where the system lets it. A wrong answer ends it.
func (h HTTPLoad) Run() (Result, error) {
	conns := make([]net.Conn, h.Connections)
	for i := range conns {
		c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", h.Address)
		if err != nil {
			return Result{}, err
		}
		defer c.Close() //nolint:errcheck // nothing more comes
		conns[i] = c
	}
	begin := time.Now()
	from, until := begin.Add(h.Warm), begin.Add(h.Warm+h.Duration)
	var wg sync.WaitGroup
	var out tally
	wg.Go(func() { out = h.drive(conns, from, until) })
	var cpu time.Duration
	<-time.After(time.Until(from))
	cpu = CPU()
	wg.Wait()
	cpu = CPU() - cpu
	if out.err != nil {
		return Result{}, out.err
	}
	all := out.took
	if len(all) == 0 {
		return Result{}, errors.New("no request was answered")
	}
	slices.Sort(all)
	var r Result
	r.Add(AllRequests, "", float64(out.all))
	r.Add("rate", "requests/s", float64(len(all))/h.Duration.Seconds())
	r.Add("p50", "ms", float64(all[len(all)/2].Microseconds())/1000)
	r.Add("p99", "ms", float64(all[len(all)*99/100].Microseconds())/1000)
	r.Add("p99.9", "ms", float64(all[len(all)*999/1000].Microseconds())/1000)
	r.Add("load's own CPU", "µs a request", cpu.Seconds()*1e6/float64(len(all)))
	return r, nil
}

var (
	headEnd    = []byte("\r\n\r\n")
	length     = []byte("\r\nContent-Length: ")
	status     = []byte("HTTP/1.1 200 ")
	errTooLong = errors.New("the answer is too long")
)

// check looks at what there is of an answer, and compares it once it is whole.
func (h HTTPLoad) check(b []byte) (whole bool, err error) {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		return false, nil
	}
	head := end + len(headEnd)
	at := bytes.Index(b[:end+2], length)
	if !bytes.HasPrefix(b, status) || at < 0 {
		return false, fmt.Errorf("the answer is not what was expected: %.300q", b)
	}
	digits := b[at+len(length):]
	l, err := strconv.Atoi(string(digits[:bytes.IndexByte(digits, '\r')]))
	switch {
	case err != nil:
		return false, err
	case len(b) < head+l:
		return false, nil
	case !bytes.Equal(b[head:], h.Want):
		return false, fmt.Errorf("the answer is %.300q, not %.300q", b[head:], h.Want)
	}
	return true, nil
}
