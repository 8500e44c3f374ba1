"""What an app may ask of the platform. Each module is one service; none needs anything but the standard library."""
