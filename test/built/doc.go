// Package built owns where tests of the program find what they test: what a
// variable names, as in a machine without this tree; what make built; or what is
// built for them now.
//
// It is for tests alone; test/imports holds that.
package built
