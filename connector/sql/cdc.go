package sql

import (
	"errors"
	"fmt"
	"strings"

	"penstock.dev/penstock"
)

// CDCConfig is the configuration of the source `cdc`.
type CDCConfig struct {
	// The PostgreSQL server, a Connection of `sql`. Its user needs the right REPLICATION, and to read the tables for the snapshot; the server needs `wal_level = logical`.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The replication slot: the server's own record of how far this flow is, and what keeps the server from removing the log (WAL) that the flow has yet to
	// read. Each flow needs one of its own. Small letters, digits and `_`.
	Slot string `json:"slot" penstock:"required,nonempty"`
	// The publication that says which tables are replicated. Default: named as the slot.
	Publication string `json:"publication"`
	// The tables to read, as the database writes their names: orders, or sales.orders. Default: those that the publication has.
	Tables []string `json:"tables"`
	// What comes first. `initial`: all rows that are there, once, as operation `read`; then every change, from exactly there on. `never`: only changes, from
	// the moment on when the slot was made.
	Snapshot string `json:"snapshot" penstock:"enum=initial|never,default=initial"`
	// Make the publication and the slot where they are not there, and add tables to the publication that it lacks. With false they are only looked at.
	Create *bool `json:"create"`
	// How much log (WAL) the server may have to keep for the slot before each look at it, once a minute, logs a warning.
	WarnLag penstock.Size `json:"warnLag" penstock:"default=1Gi"`
}

const (
	snapshotInitial = "initial"
	snapshotNever   = "never"
)

// cdcSpec is what the source is registered with.
var cdcSpec = penstock.Spec{
	Name:       "cdc",
	Connection: "sql",
	Summary:    "Reads the changes of PostgreSQL's tables as they are committed (logical replication): first the rows that are there, then every insert, update and delete.",
	Settle:     penstock.Cumulative,
	Finite:     true,
	Replay:     penstock.ReplayAgain,
	Keyed:      true,
}

// Validate implements penstock.Resolver.
func (c *CDCConfig) Validate() (errs []error) {
	if strings.Trim(c.Slot, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || len(c.Slot) > 63 {
		errs = append(errs, fmt.Errorf("`slot` is %q: it has small letters, digits and _, at most 63", c.Slot))
	}
	seen := map[string]bool{}
	for _, t := range c.Tables {
		if _, err := tableName(t); err != nil {
			errs = append(errs, err)
		}
		if seen[t] {
			errs = append(errs, fmt.Errorf("`tables` names %s twice", t))
		}
		seen[t] = true
	}
	if len(c.Tables) == 0 && c.Publication == "" {
		errs = append(errs, errors.New("say which `tables` are read, or name the `publication` that has them"))
	}
	return errs
}

// SpecFor implements penstock.Specific. What a snapshot that was cut off has read comes again with the next one; changes have a place of their own for all time.
func (c *CDCConfig) SpecFor(s penstock.Spec) penstock.Spec {
	if c.Snapshot == snapshotNever {
		s.Replay = penstock.ReplayPosition
	}
	return s
}

// NeedsState implements penstock.Stateful.
func (*CDCConfig) NeedsState() string { return "it goes on behind the changes that were read" }

// Takes implements penstock.Exclusive.
func (c *CDCConfig) Takes(penstock.Env) (what, hint string) {
	if c.Slot == "" {
		return "", ""
	}
	return "slot " + c.Slot + " of connection " + c.Connection.Name, "give each flow a `slot` of its own, or let one flow read it and send to a channel that both read"
}

// Overlaps implements penstock.Overlapper.
func (c *CDCConfig) Overlaps(sink any, _ penstock.Env) error {
	to, ok := sink.(*SinkConfig)
	if !ok || c.Connection.Name != to.Connection.Name {
		return nil
	}
	for _, t := range c.Tables {
		if t == to.Table {
			return &penstock.Error{Code: penstock.Config, Op: "cdc", Err: fmt.Errorf("what is written to the table %s is a change of it, and is read again", t), Hint: "write to another table"}
		}
	}
	return nil
}

func (c *CDCConfig) publication() string {
	if c.Publication == "" {
		return c.Slot
	}
	return c.Publication
}

func (c *CDCConfig) mayMake() bool { return c.Create == nil || *c.Create }

// server gives the PostgreSQL server of the configuration.
func (c *CDCConfig) server(env penstock.Env) (*postgres, error) {
	db, err := connect(c.Connection, env)
	if err != nil {
		return nil, err
	}
	p, ok := db.(*postgres)
	if !ok {
		return nil, config(c.Connection.Pos.String(), "the connection "+c.Connection.Name+" is no PostgreSQL server: changes are read by its logical replication", "name a Connection with `driver: postgres`")
	}
	return p, nil
}
