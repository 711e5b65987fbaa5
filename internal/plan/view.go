package plan

import (
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// Slots of Message.Vars in which the programs of a view find what is not the message's own.
const (
	ViewRow     = 0 // the row: an object, empty where there is none
	ViewVersion = 1 // the place of the event in its stream
	ViewArgs    = 2 // the first argument of a query; the others follow, in the order of ViewQuery.Args
)

// View is a read model: rows that are kept from events.
type View struct {
	Name string
	Pos  penstock.Pos
	// Channel is the topic of the store that its events come from, Entity the entity: one of them.
	Channel string
	Entity  string
	By      penstock.Program // what kind of event a message is; nil: the type of the CloudEvent
	Key     penstock.Program // of the row; nil: the message's
	Events  []ViewEvent
	Strict  bool // an event of another kind stops it
	Row     *types.Type
	Check   step.Validator // of a whole row
	Queries []ViewQuery
	// Inline says that the rows change in the transactions that append the events of the entity.
	Inline bool
	// Rows says where the rows are; nil: in the store.
	Rows *ViewRows
	// Hash covers everything that rows depend on: with another one they are built anew. Queries have no part in it.
	Hash string
}

// ViewRows is a place of rows outside of the store.
type ViewRows struct {
	Driver *penstock.Driver
	Config any // *penstock.RowsConfig
	// Place tells it from other places: the technology, the Connection and the table.
	Place string
	// ConnectionHash is as in an Endpoint.
	ConnectionHash string
}

// Event finds what a kind of event does, or nil.
func (v *View) Event(kind string) *ViewEvent {
	for i := range v.Events {
		if v.Events[i].Kind == kind {
			return &v.Events[i]
		}
	}
	return nil
}

// Query finds a query by name, or nil.
func (v *View) Query(name string) *ViewQuery {
	for i := range v.Queries {
		if v.Queries[i].Name == name {
			return &v.Queries[i]
		}
	}
	return nil
}

// ViewEvent is what one kind of event does to its row.
type ViewEvent struct {
	Kind   string
	When   penstock.Program // nil: always
	Upsert penstock.Mapping // the fields that are set; nil: the row is deleted
	// Whole says that Upsert sets every field that a row can have, so that nothing of the row before stays.
	Whole bool
}

// ViewQuery finds many rows.
type ViewQuery struct {
	Name  string
	Args  []ViewArg
	Where penstock.Program // over row, key and args; nil: all
	Limit int              // rows of a page
}

// ViewArg is an argument of a query.
type ViewArg struct {
	Name string
	Type *types.Type
}

// Ask is what a query step asks of a view.
type Ask struct {
	View  string
	Key   penstock.Program // of one row; nil: it asks by Name
	Name  string           // of a query
	Args  penstock.Mapping // of the query, as an object; nil: none
	After penstock.Program // where the page begins; nil: at the beginning
	AsOf  penstock.Program // a timestamp or a position; nil: now
	Wait  time.Duration    // until the view has come to where its source is now; 0: it does not wait
}

// View finds a view by name, or nil.
func (p *Plan) View(name string) *View {
	for _, v := range p.Views {
		if v.Name == name {
			return v
		}
	}
	return nil
}
