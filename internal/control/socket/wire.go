package socket

import (
	"encoding/json"
	"errors"

	"penstock.dev/penstock"
)

// The operations, as the last part of their path.
const (
	opStatus   = "status"
	opDrain    = "drain"
	opPause    = "pause"
	opResume   = "resume"
	opReload   = "reload"
	opTap      = "tap"
	opSend     = "send"
	opClusters = "dead/clusters"
	opShow     = "dead/show"
	opEach     = "dead/each"
	opAct      = "dead/act"
	opTrace    = "trace"
	opInfo     = "store/info"
	opCheck    = "store/check"
	opCompact  = "store/compact"
	opBackup   = "store/backup"
	opDrop     = "store/step/drop"
	opRename   = "store/step/rename"
	opForget   = "store/group/forget"
)

// version is the first part of every path.
const version = "/v1/"

// maxRequest bounds a request: thousands of ids.
const maxRequest = 1 << 20

// line is one line of an answer; one of its fields is there.
type line struct {
	Item   json.RawMessage `json:"item,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *fault          `json:"error,omitempty"`
}

// fault is an error on the wire: the links of its chain that say something.
type fault struct {
	Code penstock.Code `json:"code,omitempty"`
	Op   string        `json:"op,omitempty"`
	Path string        `json:"path,omitempty"`
	Hint string        `json:"hint,omitempty"`
	Text string        `json:"text,omitempty"` // of the last link
	Err  *fault        `json:"err,omitempty"`
}

func faultOf(err error) *fault {
	if err == nil {
		return nil
	}
	e, ok := err.(*penstock.Error) //nolint:errorlint // the chain is walked link by link
	if !ok {
		if c := penstock.CodeOf(err); c != penstock.Internal {
			return &fault{Code: c, Err: &fault{Text: err.Error()}}
		}
		return &fault{Text: err.Error()}
	}
	return &fault{Code: e.Code, Op: e.Op, Path: e.Path, Hint: e.Hint, Err: faultOf(e.Err)}
}

func (f *fault) error() error {
	switch {
	case f == nil:
		return nil
	case f.Text != "":
		return errors.New(f.Text)
	}
	return &penstock.Error{Code: f.Code, Op: f.Op, Path: f.Path, Hint: f.Hint, Err: f.Err.error()}
}

type nothing struct{}

type flowName struct {
	Flow string `json:"flow,omitempty"`
}

type letterID struct {
	ID string `json:"id"`
}
