package equivalence_test

// groups are all cases.
func groups() []group {
	return []group{
		processCases(), kernelCases(), namespaceCases(), mountCases(), resourceCases(), updateCases(), deviceCases(),
		lifecycleCases(), pauseCases(), inputCases(), hookCases(), execCases(), streamCases(),
	}
}
