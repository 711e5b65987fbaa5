package http

import (
	"fmt"
	nethttp "net/http"
	"strconv"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// answer is what a caller gets.
type answer struct {
	status      int
	contentType string // "" where there is no body
	header      [][2]string
	body        []byte // may live in the memory of the exchange
}

// replyOf makes the answer of what the flow has made of the request.
func (x *exchange) replyOf(m *penstock.Message) (a answer, err error) {
	s := x.s
	a.status = s.config.Reply.Status
	if len(s.config.Reply.Header) > 0 {
		if a.header, err = x.headers(m); err != nil {
			return a, err
		}
	}
	if m.Body == nil {
		if a.status == 0 {
			a.status = nethttp.StatusNoContent
			if !s.env.Replies {
				a.status = nethttp.StatusAccepted
			}
		}
		return a, nil
	}
	if a.status == 0 {
		a.status = nethttp.StatusOK
	}
	a.contentType = s.replyType
	switch {
	case s.replyJSON && m.Body.Format() == jsonview.JSON:
		a.body = m.Body.Bytes()
		return a, nil
	case s.replyJSON:
		if err = m.Body.Parse(jsonview.Limits{}); err == nil {
			x.out = m.Body.AppendJSON(x.out[:0], 0)
		}
	default:
		x.out, err = s.config.Reply.Format.Codec.Encode(x.out[:0], m.Body)
	}
	if err != nil {
		return a, &penstock.Error{Code: penstock.Internal, Op: "reply", Err: err}
	}
	a.body = x.out
	return a, nil
}

// headers computes the headers of an answer; one whose template gives nothing is left out.
func (x *exchange) headers(m *penstock.Message) ([][2]string, error) {
	var out [][2]string
	for _, h := range x.s.replyHeaders {
		v := h.template.Program.Eval(x.batch.Frame(m))
		if v.Kind() == penstock.KindOptional {
			v = v.Optional()
		}
		if v.Kind() == penstock.KindNode {
			v = v.Load(x.batch.Arena())
		}
		switch v.Kind() {
		case penstock.KindAbsent, penstock.KindNull:
			continue
		case penstock.KindError:
			return nil, &penstock.Error{Code: penstock.Internal, Op: "reply", Path: "header." + h.name, Err: v.Err()}
		}
		text, err := v.AppendText(nil)
		if err == nil && !isHeaderValue(string(text)) {
			err = fmt.Errorf("%.80q has characters that no header may have", text)
		}
		if err != nil {
			return nil, &penstock.Error{Code: penstock.Internal, Op: "reply", Path: "header." + h.name, Err: err}
		}
		out = append(out, [2]string{h.name, string(text)})
	}
	return out, nil
}

// give sends an answer.
func (x *exchange) give(a *answer) {
	h := x.w.Header()
	for _, e := range a.header {
		h[e[0]] = append(h[e[0]], e[1])
	}
	switch a.contentType {
	case "":
	case x.s.replyType:
		h["Content-Type"] = x.s.replyHeader
	default:
		h["Content-Type"] = []string{a.contentType}
	}
	if x.s.config.Reply.Gzip {
		x.squeeze(a)
	}
	if len(a.body) > 2000 { // net/http counts what is smaller
		h["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	}
	if a.status != nethttp.StatusOK {
		x.w.WriteHeader(a.status)
	}
	if len(a.body) > 0 {
		_, _ = x.w.Write(a.body) // the peer may be gone: what was done is done
	}
}
