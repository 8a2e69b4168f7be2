// Package golden owns the comparison of what a test got with a file in testdata,
// and how that file is written anew: go test ./PACKAGE -update.
//
// It is for tests alone; test/imports holds that.
package golden
