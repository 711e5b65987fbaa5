// Package drive does to a connector's source and sink what a flow does to them, for the connectors' own tests: it opens, reads, settles, writes again what failed for a while, and
// compares. What every driver must keep is in package conform, which strangers use too; this is for what one connector alone promises, against its real server.
//
// What takes too long fails the test, after a patience that no working server needs: nothing here measures time.
package drive
