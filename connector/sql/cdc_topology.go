package sql

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock"
)

var _ penstock.Topology = (*CDCConfig)(nil)

// Describe implements penstock.Topology: the publication and the slot.
func (c *CDCConfig) Describe(ctx context.Context, env penstock.Env) ([]penstock.Object, error) {
	p, err := c.server(env)
	if err != nil {
		return nil, err
	}
	l, err := c.look(ctx, p)
	if err == nil {
		err = c.refuse(l)
	}
	if err != nil {
		return nil, err
	}
	return c.objects(l), nil
}

// objects says what is to be done about the publication and the slot.
func (c *CDCConfig) objects(l *cdcLook) []penstock.Object {
	pub := penstock.Object{Kind: "publication", Name: c.publication(), Action: penstock.ObjectKeep}
	conflict := func(o *penstock.Object, why, hint string) {
		o.Action, o.Settings, o.Why, o.Hint = penstock.ObjectConflict, nil, why, hint
	}
	missing := strings.Join(l.missing, ", ")
	switch {
	case !l.publication && len(c.Tables) == 0:
		conflict(&pub, "there is no such publication", "make it: CREATE PUBLICATION "+quote(pub.Name)+" FOR TABLE …; or say which `tables` are read")
	case !l.publication && !c.mayMake():
		conflict(&pub, "there is no such publication, and `create: false`", "make it: "+c.createPublication(l))
	case !l.publication:
		pub.Action, pub.Settings = penstock.ObjectCreate, []penstock.ObjectSetting{{Name: "tables", Want: missing}}
	case len(l.missing) > 0 && !c.mayMake():
		conflict(&pub, "it lacks "+missing+", and `create: false`", "add them: "+c.alterPublication(l))
	case len(l.missing) > 0:
		pub.Action, pub.Settings = penstock.ObjectChange, []penstock.ObjectSetting{{Name: "tables", Is: l.publishedText(), Want: strings.TrimPrefix(l.publishedText()+", "+missing, ", ")}}
	case len(l.published) == 0:
		conflict(&pub, "it has no table", "ALTER PUBLICATION "+quote(pub.Name)+" ADD TABLE …; or say which `tables` are read")
	}
	if len(l.unnamed) > 0 && pub.Action != penstock.ObjectConflict {
		conflict(&pub, "rows of "+strings.Join(l.unnamed, ", ")+" can't be told apart (no primary key): once it is published, the server refuses whatever updates or deletes in it",
			"give it a primary key, or: ALTER TABLE "+l.unnamed[0]+" REPLICA IDENTITY FULL")
	}
	slot := penstock.Object{Kind: "replication slot", Name: c.Slot, Action: penstock.ObjectKeep}
	switch {
	case l.slot == nil && !c.mayMake():
		conflict(&slot, "there is no such slot, and `create: false`", "make it: SELECT pg_create_logical_replication_slot('"+c.Slot+"', 'pgoutput')")
	case l.slot == nil:
		slot.Action, slot.Settings = penstock.ObjectCreate, []penstock.ObjectSetting{{Name: "plugin", Want: "pgoutput"}}
	default:
		if err := c.broken(l); err != nil {
			e := err.(*penstock.Error) //nolint:errorlint,forcetypeassert // made so
			conflict(&slot, e.Err.Error(), e.Hint)
		}
	}
	return []penstock.Object{pub, slot}
}

func (l *cdcLook) publishedText() string {
	var out []string
	for _, t := range l.published {
		out = append(out, t.full())
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (c *CDCConfig) createPublication(l *cdcLook) string {
	// Of a partitioned table the changes are those of the whole.
	return "CREATE PUBLICATION " + quote(c.publication()) + " FOR TABLE " + strings.Join(l.missing, ", ") + " WITH (publish_via_partition_root = true)"
}

func (c *CDCConfig) alterPublication(l *cdcLook) string {
	return "ALTER PUBLICATION " + quote(c.publication()) + " ADD TABLE " + strings.Join(l.missing, ", ")
}

// Ensure implements penstock.Topology. The slot is made by the source itself, which knows whether it was there before: made anew behind the back of a flow that had
// one it would hide what was lost.
func (c *CDCConfig) Ensure(ctx context.Context, env penstock.Env) error {
	p, err := c.server(env)
	if err != nil {
		return err
	}
	l, err := c.look(ctx, p)
	if err != nil {
		return err
	}
	return c.makePublication(ctx, p, l)
}

// makePublication makes it, or adds the tables that it lacks.
func (c *CDCConfig) makePublication(ctx context.Context, p *postgres, l *cdcLook) error {
	if len(l.missing) == 0 || !c.mayMake() {
		return nil
	}
	text := c.createPublication(l)
	if l.publication {
		text = c.alterPublication(l)
	}
	return p.with(ctx, func(conn *pgx.Conn) error {
		_, err := conn.PgConn().Exec(ctx, text).ReadAll()
		var e *pgconn.PgError
		if err != nil && errors.As(err, &e) && e.Code == "42710" { // somebody was faster
			return nil
		}
		return err
	})
}

func jsonUnmarshal(text string, into any) error { return json.Unmarshal([]byte(text), into) }
