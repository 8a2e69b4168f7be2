// Package networktest owns the network namespaces of tests: namespaces, bridges
// and services that are gone with the test that made them, and how a test gets a
// thread into one. It serves package network and those beside it, and others'
// tests that need a network which is not the machine's.
//
// It is for tests alone; test/imports holds that. What it makes is never in the
// namespace that the test began in.
package networktest
