package httpd

import (
	"net/http"
	"runtime"
	"strconv"

	"penstock.dev/penstock/jsonview"
)

// problem is a problem details object (RFC 9457) for what never reached a flow: its type is about:blank, so that the status says it
// all.
func problem(status int, detail, instance string) []byte {
	b := append([]byte(`{"type":"about:blank","title":`), jsonview.AppendString(nil, http.StatusText(status))...)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	if detail != "" {
		b = jsonview.AppendString(append(b, `,"detail":`...), detail)
	}
	b = jsonview.AppendString(append(b, `,"instance":`...), instance)
	return append(b, '}', '\n')
}

// stack is where the goroutine is, for the log.
func stack() string {
	b := make([]byte, 16<<10)
	return string(b[:runtime.Stack(b, false)])
}
