// Package mutation plants deliberate bugs: at the places where somebody would make them, a line asks [On] for a bug by its name, and
// does the wrong thing. test/mutate lists the bugs, and makes sure that tests catch each one.
//
// An ordinary build has none of this: On is false there at compile time, and the compiler removes what stands behind it. With
// the build tag penstock_mutate the bug that the environment names in PENSTOCK_MUTATION is on; no release is built with it.
package mutation
