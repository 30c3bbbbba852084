package actors

import "context"

// SaveBus has the bus store its checkpoint now.
func SaveBus(s *System) {
	if err := s.onBus(context.Background(), s.bus.save); err != nil {
		panic(err)
	}
}
