package sql

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
)

// Inbox is how a sink remembers what it has written.
type Inbox struct {
	// The table, as the database writes its name. Flows may share it: each knows its own messages. Its columns are id and until, of 20 bytes and a time.
	Table string `json:"table" penstock:"default=penstock_inbox,nonempty"`
	// How long a message is known at least. One that comes again later is written again: this is how long the flow may stand still, or a
	// dead letter wait to be redriven, without that. `penstock check` prints it.
	Retain penstock.Duration `json:"retain" penstock:"default=7d,min=1m"`
	// Makes the table where it is not there. Where it is false, or the user may not, the error at the start names the statement that does.
	Create *bool `json:"create"`
	// What keeps this deployment apart from others that write to the same database, have flows of the same names, and read from
	// other places of the same names: the same position of two topics called orders is not the same message.
	Space string `json:"space"`
}

// Its columns, and what they are in either database.
const (
	inboxID    = "id"
	inboxUntil = "until"
)

// identity is what a message is known by in an inbox: a hash, or, of one that is known by its position, a hash of all but the position, and that. What is
// read one after the other then stands side by side in the index of the table, which is several times as fast as if it were spread over it.
type identity [20]byte

const identityHash = 12 // bytes of it, in front of a position

// inbox is an Inbox at work.
type inbox struct {
	config *Inbox
	quoted string
	keeper inboxKeeper

	id      identity // of the message that is being added
	text    []byte
	nextOut time.Time // when what is over is looked for
}

// inboxKeeper is a loader that writes rows and what they are known by in one transaction. It is used by one goroutine at a time.
type inboxKeeper interface {
	// create gives the statements that make the table and its index, where they are not there. Index is the name of that.
	create(quoted, index string) []string
	// forget deletes at most so many of those that are over, and says how many.
	forget(ctx context.Context, quoted string, most int) (int64, error)
}

// openInbox looks at the table of the inbox, and makes it if it may.
func (s *sink) openInbox(ctx context.Context) error {
	c := s.config.Inbox
	if c == nil {
		return nil
	}
	keeper, ok := s.loader.(inboxKeeper)
	if !ok {
		return config(s.env.Name, "this database has no inbox", "leave `inbox` out, and give the table a `key`")
	}
	name, err := tableName(c.Table)
	if err != nil {
		return config(s.env.Name, "inbox: "+err.Error(), "")
	}
	b := &inbox{config: c, quoted: quoteAll(name, "."), keeper: keeper}
	statements := keeper.create(b.quoted, quote(name[len(name)-1]+"_until"))
	statement := strings.Join(statements, "; ")
	t, err := s.db.table(ctx, name)
	if err == nil && len(t.columns) == 0 {
		if c.Create != nil && !*c.Create {
			return &penstock.Error{Code: penstock.Config, Op: "sql", Path: s.env.Name, Err: fmt.Errorf("there is no table %s for the inbox", c.Table), Hint: "have it made: " + statement}
		}
		var made error
		for _, text := range statements {
			st := newStatement(text)
			st.writes = true
			_, e := s.db.run(ctx, st, nil, nil)
			made = cmp.Or(made, e)
		}
		// Somebody else may have made it meanwhile.
		if t, err = s.db.table(ctx, name); err == nil && len(t.columns) == 0 {
			if made == nil || penstock.CodeOf(made).Transient() {
				return errors.Join(made, err)
			}
			return &penstock.Error{Code: penstock.Config, Op: "sql", Path: s.env.Name, Err: fmt.Errorf("the table %s of the inbox can't be made: %w", c.Table, made), Hint: "have it made by somebody who may: " + statement}
		}
	}
	if err != nil {
		return err
	}
	if t.column(inboxID) == nil || t.column(inboxUntil) == nil || !slices.ContainsFunc(t.unique, func(of []string) bool { return slices.Equal(of, []string{inboxID}) }) {
		return &penstock.Error{Code: penstock.Config, Op: "sql", Path: s.env.Name, Err: fmt.Errorf("the table %s is no inbox", c.Table), Hint: "name another one in `inbox: { table }`, or make it so: " + statement}
	}
	s.inbox = b
	return nil
}

// of notes what m is known by.
func (b *inbox) of(env *penstock.Env, m *penstock.Message) {
	if b == nil {
		return
	}
	b.text = append(append(b.text[:0], b.config.Space...), 0)
	from := len(b.text)
	b.text = env.AppendIdentity(b.text, m)
	b.id = identityOf(b.text, from)
}

// identityOf makes the identity of a text, in which that of the message begins at from: flow/step:from.3@stream:17.
func identityOf(text []byte, from int) (id identity) {
	own := text[from:]
	own = own[bytes.IndexByte(own, ':')+1:]
	mark := bytes.IndexFunc(own, func(r rune) bool {
		return r != '.' && r != '~' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	last := bytes.LastIndexByte(own, ':')
	if mark >= 0 && own[mark] == '@' && last > mark {
		if n, err := strconv.ParseUint(string(own[last+1:]), 10, 64); err == nil {
			sum := sha256.Sum256(text[:len(text)-len(own)+last])
			copy(id[:], sum[:identityHash])
			binary.BigEndian.PutUint64(id[identityHash:], n)
			return id
		}
	}
	sum := sha256.Sum256(text)
	return identity(sum[:len(id)])
}

// How what is over is deleted: a little at a time, beside the rows that are written.
const (
	forgetEvery = time.Minute
	forgetMost  = 10_000
)

// tidy deletes what need not be known any longer. If that fails it is tried again later: nothing depends on it but room.
func (s *sink) tidy(ctx context.Context) {
	b := s.inbox
	if b == nil {
		return
	}
	now := s.env.Clock.Now()
	if now.Before(b.nextOut) {
		return
	}
	b.nextOut = now.Add(forgetEvery)
	n, err := b.keeper.forget(ctx, b.quoted, forgetMost)
	switch {
	case err != nil && ctx.Err() == nil:
		s.env.Logger.Warn("what is over was not deleted from the inbox", "table", b.config.Table, "error", err)
	case n == forgetMost:
		b.nextOut = now // there is more
	}
}
