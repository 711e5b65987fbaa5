package operate

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
)

// Names in the store.
const (
	deadSuffix   = ".dead" // a flow's dead letters
	inSuffix     = "#in"   // a flow's redriven messages
	deadGroup    = "dlq"   // acknowledges dead letters that were redriven or dropped
	auditChannel = "#audit"
)

func deadChannel(flow string) string { return flow + deadSuffix }
func inChannel(flow string) string   { return flow + inSuffix }

// deadFlow is the flow whose dead letters a channel holds.
func deadFlow(channel string) (flow string, ok bool) {
	flow, ok = strings.CutSuffix(channel, deadSuffix)
	return flow, ok && flow != "" && !strings.ContainsAny(flow, "/#")
}

// ParseID reads the id of a dead letter: <flow>.dead@<position>.
func ParseID(id string) (flow string, pos int64, err error) {
	ch, at, ok := strings.Cut(id, "@")
	if ok {
		flow, ok = deadFlow(ch)
	}
	if ok {
		if pos, err = strconv.ParseInt(at, 10, 64); err != nil || pos < 0 {
			ok = false
		}
	}
	if !ok {
		return "", 0, &penstock.Error{Code: penstock.Invalid, Op: "dead letter", Err: fmt.Errorf("%q is no id of a dead letter", id),
			Hint: "ids look like orders.dead@17; `penstock dlq ls` shows some, `penstock dlq export` all"}
	}
	return flow, pos, nil
}

func letterID(flow string, pos int64) string { return record.ID(deadChannel(flow), pos) }

// letterOf reads a stored dead letter. Nothing of it aliases rec.
func letterOf(flow string, pos int64, rec []byte) (*DeadLetter, error) {
	v, err := record.Parse(rec)
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Internal, Op: "dead letter", Path: letterID(flow, pos), Err: err, Hint: "`penstock store check` says what else is damaged"}
	}
	d := &DeadLetter{ID: letterID(flow, pos), Key: strings.Clone(v.Key())}
	d.Body, d.Encoding = bodyOf(v)
	meta := []byte{'{'}
	for name, value := range v.Meta() {
		mark := len(meta)
		if mark > 1 {
			meta = append(meta, ',')
		}
		meta = append(jsonview.AppendString(meta, name), ':')
		if text, err := value.AppendJSON(meta); err == nil {
			meta = text
		} else { // the other headers are worth showing
			meta = append(meta[:mark], bytesOf(err, mark > 1, name)...)
		}
	}
	d.Meta = append(meta, '}')
	if !json.Valid(d.Meta) {
		return nil, &penstock.Error{Code: penstock.Internal, Op: "dead letter", Path: d.ID, Err: errors.New("its headers are damaged"), Hint: "`penstock store check` says what else is damaged"}
	}
	d.readReason()
	return d, nil
}

// bytesOf is a header that can't be shown, and why.
func bytesOf(err error, comma bool, name string) []byte {
	var out []byte
	if comma {
		out = append(out, ',')
	}
	out = append(jsonview.AppendString(out, name), ':')
	return jsonview.AppendString(out, "(can't be shown: "+err.Error()+")")
}

// bodyOf is a body as JSON, and how it is encoded where it is none.
func bodyOf(v record.View) (body json.RawMessage, encoding string) {
	raw := v.Body()
	if v.Format() == jsonview.JSON && json.Valid(raw) {
		return slices.Clone(raw), ""
	}
	if v.Format() != jsonview.Binary && utf8.Valid(raw) {
		return jsonview.AppendString(nil, string(raw)), "text"
	}
	return jsonview.AppendString(nil, base64.StdEncoding.EncodeToString(raw)), "base64"
}

// frames visits the messages of a segment from a position on, until visit says false.
func frames(s store.Segment, from int64, visit func(pos int64, rec []byte) (bool, error)) error {
	data := s.Data
	for pos := s.Base; pos < s.End(); pos++ {
		msg, rest, err := store.NextFrame(data)
		if err != nil {
			return &penstock.Error{Code: penstock.Internal, Op: "read channel " + s.Channel, Path: record.ID(s.Channel, pos), Err: err, Hint: "`penstock store check` says what else is damaged"}
		}
		data = rest
		if pos < from {
			continue
		}
		if more, err := visit(pos, msg); err != nil || !more {
			return err
		}
	}
	return nil
}
