"""What runs inside an app's process: the WSGI application made of app.yaml's handlers, and gunicorn's settings."""
