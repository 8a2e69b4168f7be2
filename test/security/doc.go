// Package security tries to break out of sandboxes the way the published CVEs
// of runc did, and shows that the host stays as it was.
//
//	make unit                            natively, as root
//	go test ./test/security -run TestMaskedPaths
//
// Each test has two halves. The attack runs against a sandbox and must fail; the
// control runs the same code where the protection is left out (a spec that gives
// all rights, a mounter that trusts paths, an executable that nobody sealed) and
// must succeed. An attack that could not succeed anywhere proves nothing.
//
// The hostile program is test/security/attacker, one static executable whose
// first argument names the attack. What it finds it prints as lines "NAME RESULT";
// it judges nothing. Targets are marker files below the test's own directory, or
// opens without a write (core_pattern, sysrq-trigger): a successful attack must
// not hurt the machine it ran on.
//
// docs/security.md lists the CVEs with the tests that cover them. The package
// holds no code of the program, and nothing imports it.
package security
