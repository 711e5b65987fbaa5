package http

import (
	"compress/gzip"
	"strings"
	"sync"
)

// leastGzip is how large an answer is at least that is compressed: a smaller one fits into a packet as it is.
const leastGzip = 1 << 10

// squeezed is a compressed answer that is being written.
type squeezed []byte

// Write implements io.Writer.
func (z *squeezed) Write(p []byte) (int, error) {
	*z = append(*z, p...)
	return len(p), nil
}

var gzipWriters = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is one
	return w
}}

// squeeze compresses an answer where that helps and its caller takes it. The answer as it is remains what is recorded.
func (x *exchange) squeeze(a *answer) {
	if !compressible(a.contentType) {
		return
	}
	h := x.w.Header()
	h["Vary"] = append(h["Vary"], "Accept-Encoding") // also of what is not compressed (RFC 9110, section 12.5.5)
	if len(a.body) < leastGzip || len(h["Content-Encoding"]) > 0 || !takesGzip(x.r.Header["Accept-Encoding"]) {
		return
	}
	x.zip = x.zip[:0]
	w, _ := gzipWriters.Get().(*gzip.Writer)
	w.Reset(&x.zip)
	_, err := w.Write(a.body)
	if cerr := w.Close(); err != nil || cerr != nil {
		return // memory takes everything: it can't be
	}
	gzipWriters.Put(w)
	h["Content-Encoding"] = []string{"gzip"}
	a.body = x.zip
}

// compressible reports whether bodies of a type are text.
func compressible(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	switch kind = strings.ToLower(strings.TrimSpace(kind)); kind {
	case "application/json", "application/xml", "application/x-ndjson", "application/javascript", "application/yaml":
		return true
	}
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml")
}

// takesGzip reads Accept-Encoding (RFC 9110, section 12.5.3): gzip by its name, or as one of all; a weight of 0 refuses it.
func takesGzip(header []string) bool {
	named, all := 0, 0 // 1: taken, -1: refused
	for _, line := range header {
		for part := range strings.SplitSeq(line, ",") {
			coding, params, _ := strings.Cut(part, ";")
			verdict := 1
			if weight, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q="); ok && strings.Trim(weight, "0.") == "" {
				verdict = -1
			}
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case "gzip", "x-gzip":
				named = verdict
			case "*":
				all = verdict
			}
		}
	}
	return named > 0 || named == 0 && all > 0
}
