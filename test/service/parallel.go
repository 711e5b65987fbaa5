package service

import "flag"

// AtOnce is how many tests of a package with servers run at once, where the command line does not say: more than there are processors, since most of
// their time they wait for a server to start, to come back, or to miss somebody.
const AtOnce = "4"

// Main is for a TestMain of a package whose tests wait for servers: before it runs the tests, it lets [AtOnce] of those that are parallel run at once. It is called
// before anything that runs them, such as goleak.
func Main() {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if said {
		return
	}
	if err := flag.Set("test.parallel", AtOnce); err != nil {
		panic(err) // it is a flag of every test binary
	}
}
