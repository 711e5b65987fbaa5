package pulsar

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock/test/service"
)

// TestMain wants no goroutine to be left. Some of the client's end by themselves a while after what they were for: when the time-out of a request has passed
// that nobody waits for any more, or that of what they watched over. They are waited for.
func TestMain(m *testing.M) {
	service.Main()
	code := m.Run()
	if code == 0 {
		http.DefaultClient.CloseIdleConnections() // those of the tests' own, to the administration
		if err := left(time.Minute); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// left says which goroutines are left, after a while.
func left(patience time.Duration) (err error) {
	const client = "github.com/apache/pulsar-client-go/pulsar."
	for begun := time.Now(); time.Since(begun) < patience; {
		if err = goleak.Find(goleak.IgnoreTopFunction(client+"(*partitionProducer).failTimeoutMessages"), goleak.IgnoreTopFunction(client+"(*chunkedMsgCtxMap).discardChunkIfExpire")); err == nil {
			return nil
		}
	}
	return err
}
