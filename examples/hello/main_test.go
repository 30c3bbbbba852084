package main

func Example() {
	main()
	// Output:
	// 1 Ada guest.arrived  0 <nil>
	// 2 butler guest.greeted Hello, Ada! 1 <nil>
	// stopped: <nil>
}
