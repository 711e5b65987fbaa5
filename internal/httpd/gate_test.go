package httpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
)

// through gives input to a gate in pieces, and returns what has passed.
func through(input []byte, size int) ([]byte, error) {
	g := gate{max: 64 << 10}
	var out []byte
	for len(input) > 0 {
		n := min(size, len(input))
		pass := g.pass(input[:n])
		out = append(out, input[:pass]...)
		if g.err != nil {
			return out, g.err
		}
		input = input[n:]
	}
	return out, nil
}

// FuzzGate holds that the size of the pieces does not matter, that nothing is changed, and that where the gate finds nothing wrong, net/http
// sees messages end where the gate does.
func FuzzGate(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
		"GET / HTTP/1.1\nX: a\r\r\n\r\n",
	} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, input []byte, size int) {
		if size < 1 || len(input) > 32<<10 {
			return
		}
		whole, err := through(input, len(input)+1)
		parts, err2 := through(input, size)
		if (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("at once: %v; in pieces of %d: %v", err, size, err2)
		}
		if !bytes.HasPrefix(input, whole) || !bytes.HasPrefix(input, parts) || err == nil && len(whole) != len(input) {
			t.Fatal("what passed is not what came")
		}
		if err != nil {
			return
		}
		agree(t, input)
	})
}

// agree reads messages with net/http, and sees that the gate is at the beginning of a head wherever one ends.
func agree(t *testing.T, input []byte) {
	t.Helper()
	counted := &counting{r: bytes.NewReader(input)}
	r := bufio.NewReader(counted)
	for at := 0; at < len(input); {
		req, err := http.ReadRequest(r)
		if err != nil {
			return // refused: the connection is closed
		}
		_, err = io.Copy(io.Discard, req.Body)
		if err != nil {
			return
		}
		at = counted.n - r.Buffered()
		g := gate{max: 64 << 10}
		if g.pass(input[:at]); g.err != nil || g.state != inHead || g.lines != 0 || len(g.part) > 0 {
			t.Fatalf("net/http ends a message at byte %d, the gate is in state %d, line %d there (%v)", at, g.state, g.lines, g.err)
		}
	}
}

type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestGateAllocatesNothing(t *testing.T) {
	head := []byte("POST /hello HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: x\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"name\":\"Ann\"}")
	g := gate{max: 64 << 10}
	if n := testing.AllocsPerRun(100, func() {
		if g.pass(head) != len(head) {
			t.Error(g.err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a request", n)
	}
	if !errors.Is(g.err, nil) {
		t.Error(g.err)
	}
}

func BenchmarkGate(b *testing.B) {
	head := []byte("POST /hello HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: x\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"name\":\"Ann\"}")
	g := gate{max: 64 << 10}
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	for b.Loop() {
		g.pass(head)
	}
}
