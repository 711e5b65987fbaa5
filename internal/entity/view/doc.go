// Package view keeps read models: rows that are made of events, one for each key, and follow them.
//
// A follower reads the events of a view in their order, folds them into rows in memory, and writes each row that changed once, with
// the position that it has come to, in one transaction. So the rows are at any time what the events before the position make of them. The engine has
// one follower for each view and generation, answers queries, and builds rows anew beside those that are there.
//
// # In the store
//
//   - `view`: for each view, by its name, which generation of rows is read, and which one is being built.
//   - `view/<name>@<generation>`: the rows, by their keys, as JSON text.
//   - `view/<name>@<generation>/at`: how far the events have been read, by the name of their source.
//   - `group/<channel>`: the same position as the cursor of a group, so that the channel keeps what the view has not read.
package view
