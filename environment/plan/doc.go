// Package plan owns an environment as a value: what a compose file asks for,
// with every name, address and order decided.
//
// Package environment/compose makes a Plan from files, package
// environment/supervisor carries it out and decides nothing; `env up --dry-run`
// and `env config` print it. It is JSON on the way from one to the other. The
// contents of secrets are never in it.
//
// The package touches neither disk nor kernel. It refuses dependency cycles,
// unknown names and addresses that are taken.
package plan
