// Package shop owns a small shop, whole: nginx as the gateway, an API in Go
// (api, a module of its own), PostgreSQL, Redis and a job that makes the tables,
// as services of one environment (compose.yaml), and the end-to-end test that
// `sandboxrun env test` runs against it.
//
// TestShop starts the environment with this same test binary as its command,
// which then runs TestOrders and its fellows through the published port, as a
// user's own test would. What the machine has to be like afterwards is TestShop's.
package shop
