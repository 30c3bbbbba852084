package consumer

// Small has the shared checkpoint stored after so many events, and one
// consumer with a write, until the function that it returns is called.
func Small(events uint64) (restore func()) {
	before, consumers := saveEvery, writeConsumers
	saveEvery, writeConsumers = events, 1
	return func() { saveEvery, writeConsumers = before, consumers }
}
