// Package sidebyside tests that environments of one file do not know of each
// other: fifty at once, with the same names, addresses and ports inside, all
// under way at the same moment, and all gone afterwards.
package sidebyside
