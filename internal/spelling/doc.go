// Package spelling owns the guess at which of some known words a mistyped one
// was meant to be. It knows no language: words are bytes.
package spelling
