package http

import (
	"compress/gzip"
	"errors"
	"io"
	"mime"
	nethttp "net/http"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"penstock.dev/penstock"
)

// media is what a request's content-type may be.
type media struct {
	exact  []string // "application/json", "text/*", "*/*"
	suffix string   // "+json"
	want   string   // for people
}

// mediaOf is what is read with a codec.
func mediaOf(codec string, also []string) media {
	var m media
	switch codec {
	case "json":
		m = media{exact: []string{"application/json"}, suffix: "+json"}
	case "csv":
		m = media{exact: []string{"text/csv"}}
	case "text":
		m = media{exact: []string{"text/*"}}
	case "xml":
		m = media{exact: []string{"application/xml", "text/xml"}, suffix: "+xml"}
	case "form":
		m = media{exact: []string{"application/x-www-form-urlencoded"}}
	default:
		m = media{exact: []string{"*/*"}}
	}
	m.want = strings.Join(append(slices.Clone(m.exact), also...), ", ")
	m.exact = append(m.exact, also...)
	return m
}

// check refuses what can't be read.
func (m *media) check(header []string) error {
	if len(header) == 0 || len(header) == 1 && (header[0] == m.exact[0] || header[0] == "") {
		return nil
	}
	if len(header) > 1 {
		return &status{nethttp.StatusBadRequest, "there are two content-type headers"}
	}
	kind, params, err := mime.ParseMediaType(header[0])
	if err != nil || !m.takes(kind) {
		return &status{nethttp.StatusUnsupportedMediaType, "this path reads " + m.want + ": say so in content-type"}
	}
	if c := strings.ToLower(params["charset"]); c != "" && c != "utf-8" && c != "us-ascii" && c != "utf8" {
		return &status{nethttp.StatusUnsupportedMediaType, "the body must be UTF-8"}
	}
	return nil
}

func (m *media) takes(kind string) bool {
	for _, e := range m.exact {
		if e == kind || e == "*/*" {
			return true
		}
		if all, ok := strings.CutSuffix(e, "/*"); ok && strings.HasPrefix(kind, all+"/") {
			return true
		}
	}
	return m.suffix != "" && strings.HasSuffix(kind, m.suffix)
}

// contentCoding is the compression of a body; "" for none.
func contentCoding(header []string) (string, error) {
	if len(header) == 0 {
		return "", nil
	}
	switch c := strings.ToLower(strings.TrimSpace(strings.Join(header, ","))); c {
	case "", "identity":
		return "", nil
	case "gzip", "x-gzip":
		return "gzip", nil
	case "zstd":
		return c, nil
	}
	return "", errCoding
}

var errCoding = &status{nethttp.StatusUnsupportedMediaType, "the body is compressed in a way that is not read here: gzip and zstd are"}

// The bounds of what a compressed body may become.
const (
	freeGrowth = 1 << 20
	maxGrowth  = 200
	zstdWindow = 8 << 20 // RFC 8878, section 3.1.1.1.2: what every decoder should support
)

// unpack reads a compressed body.
func unpack(coding string, from io.Reader) (io.ReadCloser, error) {
	in := &counter{r: from}
	if coding == "gzip" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, unpackError(in)
		}
		return &unpacker{in: in, out: z, close: z.Close}, nil
	}
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, unpackError(in)
	}
	return &unpacker{in: in, out: z, close: func() error { z.Close(); return nil }}, nil
}

// counter counts what was read, and remembers why no more was.
type counter struct {
	r   io.Reader
	n   int64
	err error
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// unpacker reads what is compressed, as long as it does not grow beyond reason.
type unpacker struct {
	in    *counter
	out   io.Reader
	n     int64
	close func() error
}

// Read implements io.Reader.
func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.out.Read(p)
	u.n += int64(n)
	if u.n > freeGrowth && u.n > u.in.n*maxGrowth {
		return n, &status{nethttp.StatusRequestEntityTooLarge, "the body is compressed more than two hundredfold, which is refused"}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = unpackError(u.in)
	}
	return n, err
}

// Close implements io.Closer.
func (u *unpacker) Close() error { return u.close() }

// unpackError tells a body that did not come from one that can't be unpacked.
func unpackError(in *counter) error {
	if in.err != nil {
		return in.err
	}
	return &status{nethttp.StatusBadRequest, "the body is not compressed as content-encoding says"}
}

// innermost is the plain message of an error, without what it was wrapped in.
func innermost(err error) string {
	var e *penstock.Error
	for next := err; errors.As(next, &e) && e.Err != nil; {
		next = e.Err
		err = e.Err
	}
	return err.Error()
}
