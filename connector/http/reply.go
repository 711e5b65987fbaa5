package http

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http/upstream"
	"penstock.dev/penstock/jsonview"
)

// decompress gives the body of an answer as it was before it was compressed, of at most max bytes.
func decompress(res *upstream.Response, max int64, pool *sync.Pool) error {
	coding := strings.ToLower(strings.TrimSpace(string(res.Get("content-encoding"))))
	switch {
	case coding == "" || coding == "identity" || len(res.Body) == 0:
		return nil
	case coding != "gzip" && coding != "x-gzip":
		return penstock.E(penstock.Invalid, "http", "content-encoding", fmt.Sprintf("the answer is compressed as %s, which was not asked for", printable(coding)))
	}
	bad := func(err error) error {
		return &penstock.Error{Code: penstock.Unavailable, Op: "http", Path: "content-encoding", Err: fmt.Errorf("the answer is not gzip as it says: %w", err)}
	}
	z, _ := pool.Get().(*gzip.Reader)
	var err error
	if z == nil {
		z, err = gzip.NewReader(bytes.NewReader(res.Body))
	} else {
		err = z.Reset(bytes.NewReader(res.Body))
	}
	if err != nil {
		return bad(err)
	}
	defer pool.Put(z)
	out := make([]byte, 0, min(4*int64(len(res.Body)), max+1))
	for {
		if len(out) == cap(out) {
			out = append(out, 0)[:len(out)]
		}
		n, err := z.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		if int64(len(out)) > max {
			return &penstock.Error{Code: penstock.TooLarge, Op: "http", Err: fmt.Errorf("the answer is over the limit of %d bytes once it is decompressed", max), Hint: "raise maxResponse if it is meant"}
		}
		if errors.Is(err, io.EOF) {
			res.Body = out
			return nil
		}
		if err != nil {
			return bad(err)
		}
	}
}

// bodyKind is how the body of an answer is read.
type bodyKind uint8

const (
	asJSON bodyKind = iota
	asText
	asLatin1
	asBytes
	asCSV
	asLines // JSON documents, one a line
)

// kindOf decides by the content type. What says nothing is taken for JSON if it looks so.
func kindOf(contentType []byte, body []byte) bodyKind {
	if string(contentType) == "application/json" {
		return asJSON
	}
	if len(contentType) == 0 {
		if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') {
			return asJSON
		}
		return bytesOrText(body)
	}
	kind, params, err := mime.ParseMediaType(string(contentType))
	if err != nil && kind == "" {
		return bytesOrText(body)
	}
	charset := strings.ToLower(params["charset"])
	switch {
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		return asJSON
	case kind == "application/x-ndjson" || kind == "application/jsonl" || kind == "application/x-jsonlines":
		return asLines
	case kind == "text/csv":
		return asCSV
	case strings.HasPrefix(kind, "text/"), kind == "application/xml", strings.HasSuffix(kind, "+xml"), kind == "application/x-www-form-urlencoded":
		if charset == "iso-8859-1" || charset == "latin1" {
			return asLatin1
		}
		return bytesOrText(body)
	}
	return asBytes
}

func bytesOrText(body []byte) bodyKind {
	if utf8.Valid(body) {
		return asText
	}
	return asBytes
}

// setBody makes d the document of an answer's body.
func (k *caller) setBody(d *jsonview.Doc, res *upstream.Response) error {
	body := res.Body
	if len(body) == 0 {
		d.Reset(jsonview.JSON, []byte("null"))
		return nil
	}
	codec := k.config.Format.Codec
	if codec == nil {
		switch kindOf(res.Get("content-type"), body) {
		case asJSON:
			d.Reset(jsonview.JSON, bytes.TrimPrefix(body, []byte("\ufeff")))
			return nil
		case asText:
			d.Reset(jsonview.Text, body)
			return nil
		case asLatin1:
			out := make([]byte, 0, len(body)+len(body)/8)
			for _, c := range body {
				out = utf8.AppendRune(out, rune(c))
			}
			d.Reset(jsonview.Text, out)
			return nil
		case asCSV:
			codec = k.csv
		case asLines:
			d.Reset(jsonview.JSON, joinLines(body))
			return nil
		}
		if codec == nil {
			d.Reset(jsonview.Binary, body)
			return nil
		}
	}
	text, err := codec.Decode(nil, body)
	if err != nil {
		return &penstock.Error{Code: penstock.Invalid, Op: "http", Path: k.place, Err: fmt.Errorf("the answer: %w", err)}
	}
	d.Reset(jsonview.JSON, text)
	return nil
}

// joinLines makes a list of JSON documents that stand one a line.
func joinLines(body []byte) []byte {
	out := append(make([]byte, 0, len(body)+2), '[')
	for line := range bytes.SplitSeq(body, []byte{'\n'}) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, line...)
	}
	return append(out, ']')
}

// fullReply makes the object of status, headers and body.
func fullReply(res *upstream.Response, body *jsonview.Doc) ([]byte, error) {
	out := strconv.AppendInt(append(make([]byte, 0, 512+len(res.Body)), `{"status":`...), int64(res.Status), 10)
	out = append(out, `,"headers":{`...)
	var names []string
	values := map[string]string{}
	res.Each(func(name, value []byte) {
		n, v := strings.ToLower(string(name)), strings.ToValidUTF8(string(value), "\ufffd")
		if before, ok := values[n]; ok {
			values[n] = before + ", " + v
			return
		}
		names, values[n] = append(names, n), v
	})
	for i, n := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = jsonview.AppendString(out, n)
		out = append(out, ':')
		out = jsonview.AppendString(out, values[n])
	}
	out = append(out, `},"body":`...)
	if err := body.Parse(jsonview.Limits{}); err != nil {
		return nil, err
	}
	return append(body.AppendJSON(out, 0), '}'), nil
}
