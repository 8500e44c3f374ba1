"""nginx's configuration with its holes: ``@NAME@`` is filled by ``router.render``, through the allow-list."""

from __future__ import annotations

MAIN = """\
# generation @GENERATION@; made by the platform, and made anew when its settings or version change
user @USER@;
worker_processes 2;
# A generation changes with the platform's settings or version only; its websockets are kept at most so long.
worker_shutdown_timeout 3600s;
pid @PID@;
error_log @LOGS@/nginx-error.log warn;

events {
    worker_connections 4096;
}

http {
    include mime.types;
    default_type application/octet-stream;
    client_body_temp_path @TMP@/body;
    proxy_temp_path @TMP@/proxy;
    fastcgi_temp_path @TMP@/fastcgi;
    uwsgi_temp_path @TMP@/uwsgi;
    scgi_temp_path @TMP@/scgi;

    log_format dae escape=json '{"time":"$time_iso8601","from":"$remote_addr","host":"$host",'
        '"method":"$request_method","path":"$request_uri","status":$status,"bytes":$body_bytes_sent,"seconds":$request_time,'
        '"upstream":"$upstream_response_time","app":"$dae_app","stage":"$dae_stage","release":"$dae_release",'
        '"id":"$request_id"}';
    log_format dae_platform escape=json '{"time":"$time_iso8601","from":"$remote_addr","host":"$host",'
        '"method":"$request_method","path":"$request_uri","status":$status,"bytes":$body_bytes_sent,"seconds":$request_time,'
        '"upstream":"$upstream_response_time","app":"","stage":"","release":"","id":"$request_id"}';
    access_log @LOGS@/nginx-access.log dae buffer=32k flush=1s;

    include common.conf;
    include platform.conf;
    include apps.conf;
}
"""

COMMON = """\
server_tokens off;
sendfile on;
tcp_nopush on;
keepalive_timeout 75s;
types_hash_max_size 2048;
server_names_hash_bucket_size 512;
large_client_header_buffers 8 16k;
underscores_in_headers off;
ignore_invalid_headers on;

# A websocket passes; any other connection to the platform's own parts is kept for the next request.
map $http_upgrade $dae_connection {
    default upgrade;
    ""      "";
}
# The Host header as it came, when it is the host that was routed by (RFC 9112, 3.2: an absolute target wins over it).
map "$host|$http_host" $dae_host {
    default $host;
    "~*^([^|]+)[|]\\\\1(:[0-9]+)?$" $http_host;
}

# In which form a page of the index is asked for (PEP 691), as pip, uv and those who name one type or none ask: json,
# html, or html by its versioned name. All others the mirror itself has to weigh, and those who do not read to refuse.
map $http_accept $dae_accepted {
    default mirror;
    "" html;
    "*/*" html;
    "text/html" html;
    "application/vnd.pypi.simple.v1+json" json;
    "application/vnd.pypi.simple.v1+html" versioned;
    "~^application/vnd[.]pypi[.]simple[.]v1[+]json, ?application/vnd[.]pypi[.]simple[.]v1[+]html;[^,]+,[^,]+$" json;
}
map "$request_method?$args" $dae_form {
    default mirror;
    "GET?" $dae_accepted;
    "HEAD?" $dae_accepted;
}
map $dae_form $dae_page {
    default "";
    json index.json;
    html index.html;
    versioned index.html;
}

proxy_http_version 1.1;
proxy_connect_timeout 5s;
# Only what nobody has seen is tried again: a POST never is.
proxy_next_upstream error;

# Every request header that the platform's side sets or believes is set here, fresh; no location may set one of its
# own, for then it would inherit none of these.
proxy_set_header Host $dae_host;
proxy_set_header Connection $dae_connection;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header X-Request-Id $request_id;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $remote_addr;
proxy_set_header X-Forwarded-Proto $scheme;
proxy_set_header X-Forwarded-Host $dae_host;
proxy_set_header X-Forwarded-Port "";
proxy_set_header X-Forwarded-Prefix "";
proxy_set_header X-Forwarded-Server "";
proxy_set_header X-Forwarded-Ssl "";
proxy_set_header X-Forwarded-Scheme "";
proxy_set_header X-Forwarded-Protocol "";
proxy_set_header X-Forwarded-User "";
proxy_set_header X-Script-Name "";
proxy_set_header Forwarded "";
proxy_set_header Proxy "";
proxy_set_header X-DAE-App "";
proxy_set_header X-DAE-Stage "";
proxy_set_header X-DAE-Release "";
proxy_set_header X-DAE-User "";
proxy_set_header X-DAE-Admin "";
proxy_set_header X-DAE-Request "";
proxy_set_header X-DAE-Health "";
proxy_set_header X-DAE-Task "";
proxy_set_header X-DAE-Queue "";
proxy_set_header X-DAE-Cron "";
proxy_set_header X-DAE-Internal "";
"""

PLATFORM = """\
# Kept for less time than gunicorn keeps its side (2 s): no request goes down a connection that is just being closed.
upstream dae_control {
    server unix:@CONTROL@ max_fails=0;
    keepalive 4;
    keepalive_timeout 1s;
}
upstream dae_receiver {
    server unix:@RECEIVER@ max_fails=0;
    keepalive 4;
    keepalive_timeout 1s;
}
upstream dae_mirror {
    server unix:@MIRROR@ max_fails=0;
    keepalive 16;
    keepalive_timeout 1s;
}

server {
    listen @LISTEN@;
    server_name @NAMES@;
    access_log @LOGS@/nginx-access.log dae_platform buffer=32k flush=1s;
    client_max_body_size 20m;
    proxy_read_timeout 300s;
    error_page 502 504 =503 @away;

    location / {
        proxy_pass http://dae_control;
    }

    # Pages and progress: each line as it comes.
    location /api/v1/ {
        proxy_buffering off;
        proxy_read_timeout 3600s;
        error_page 502 504 =503 @api_away;
        proxy_pass http://dae_control;
    }

    # An archive's size is bounded by control; it is written where it is read, and nowhere else.
    location ~ ^/api/v1/(?:apps/[a-z0-9-]+/slugs|mirror/imports)$ {
        client_max_body_size 0;
        proxy_request_buffering off;
        proxy_buffering off;
        proxy_read_timeout 3600s;
        error_page 502 504 =503 @api_away;
        proxy_pass http://dae_control;
    }

    # A push's size is bounded by git itself (receive.maxInputSize); it streams both ways.
    location /git/ {
        client_max_body_size 0;
        proxy_request_buffering off;
        proxy_buffering off;
        proxy_read_timeout 3600s;
        proxy_send_timeout 3600s;
        proxy_pass http://dae_receiver;
    }

    # A distribution's size is bounded by the mirror; it is written where it is checked, and nowhere else.
    location = /pypi/ {
        client_max_body_size 0;
        proxy_request_buffering off;
        proxy_read_timeout 600s;
        proxy_pass http://dae_mirror;
    }

    location /pypi/ {
        client_max_body_size 1g;
        proxy_read_timeout 600s;
        proxy_pass http://dae_mirror;
    }

    include index.conf;

    location = /internal { return 404; }
    location ^~ /internal/ { return 404; }

    location @away {
        default_type text/plain;
        add_header Retry-After 1 always;
        return 503 "platform/not-running: this part of the platform does not answer -- try again in a moment\\n";
    }

    location @api_away {
        default_type application/json;
        add_header Retry-After 1 always;
        return 503 '{"error":"platform/not-running","cause":"the platform does not answer","hint":"try again"}\\n';
    }
}

# The only door of a build that has no other network: it reads the index, and finds nothing else behind it.
server {
    listen unix:@INDEX@;
    server_name builds;
    access_log @LOGS@/nginx-access.log dae_platform buffer=32k flush=1s;
    proxy_read_timeout 600s;
    error_page 502 504 =503 @away;

    location / { return 404; }
    location /pypi/simple/ {
        limit_except GET { deny all; }
        proxy_pass http://dae_mirror;
    }
    location /pypi/view/ {
        limit_except GET { deny all; }
        proxy_pass http://dae_mirror;
    }

    include index.conf;

    location @away {
        default_type text/plain;
        return 503 "mirror/unavailable: the index does not answer -- try again in a moment\\n";
    }
}
"""

PAGE = """\
internal;
alias @PAGES@/;
disable_symlinks on from=@PAGES@;
gzip_static on;
gzip_proxied any;
types { }
# Opening a page costs more than sending it. One that was asked for 200 times, never a second between, stays open, and
# may be served until the second in which it was renewed is over; any other is looked up each time.
open_file_cache max=1024 inactive=1s;
open_file_cache_min_uses 200;
open_file_cache_valid 1s;
log_not_found off;
# A page's mtime is made of its content, for the sake of the entity tag; as a time it says nothing.
if_modified_since off;
add_header Last-Modified "";
add_header Vary "Accept, Accept-Encoding";
add_header Cache-Control "no-cache";
add_header X-Content-Type-Options nosniff;
error_page 403 404 = @page;
recursive_error_pages on;  # that nobody answers there is told, too
"""

INDEX = """\
# A project's page was rendered when its data changed; for as long as it may be served unasked, it stands on the disk.
location ~ "^/pypi/simple/(?<dae_project>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)/$" {
    rewrite ^ /_dae_page/$dae_form/default/$dae_project/$dae_page last;
}
location = /pypi/simple/ {
    rewrite ^ /_dae_page/$dae_form/default/$dae_page last;
}
location ~ "^/pypi/view/(?<dae_view>[a-z][a-z0-9-]{0,29})/simple/(?<dae_viewed>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)/$" {
    rewrite ^ /_dae_page/$dae_form/$dae_view/$dae_viewed/$dae_page last;
}
location ~ "^/pypi/view/[a-z][a-z0-9-]{0,29}/files/" {
    limit_except GET { deny all; }
    proxy_read_timeout 600s;
    proxy_pass http://dae_mirror;
}
location ^~ /_dae_page/json/ {
    include page.conf;
    default_type application/vnd.pypi.simple.v1+json;
}
location ^~ /_dae_page/html/ {
    include page.conf;
    default_type "text/html; charset=utf-8";
}
location ^~ /_dae_page/versioned/ {
    include page.conf;
    default_type "application/vnd.pypi.simple.v1+html; charset=utf-8";
}
location ^~ /_dae_page/ {
    internal;
    proxy_read_timeout 600s;
    proxy_pass http://dae_mirror$request_uri;
}
location @page {
    proxy_read_timeout 600s;
    proxy_pass http://dae_mirror$request_uri;
}

# A file of a distribution never changes under its name.
location ^~ /pypi/files/ {
    alias @FILES@/;
    types { }
    open_file_cache max=4096 inactive=60s;
    open_file_cache_valid 5s;
    disable_symlinks on from=@FILES@;
    add_header Cache-Control "public, max-age=31536000, immutable";
    add_header X-Content-Type-Options nosniff;
    error_page 405 = @mirror;
    recursive_error_pages on;
    try_files $uri @mirror;
}

location @mirror {
    proxy_read_timeout 600s;
    proxy_pass http://dae_mirror;
}

location ^~ /npm/ {
    limit_except GET { deny all; }
    proxy_read_timeout 600s;
    proxy_pass http://dae_mirror;
}
"""

APPS = """\
# The first segment of the raw target: an app's server may decode and cut paths in other ways than nginx does.
map $request_uri $dae_closed {
    default 0;
    "~^/+(?:_|%5[Ff])dae(?:/(?!health(?:[?]|$))|%2[Ff])" 1;
}

# A host is a link to the folder of the release that serves it; the folder's name says the rest (router/links.py).
map $dae_live $dae_app {
    default "";
    "~/(?<dae_found_app>[a-z0-9-]+)[.][a-z]+[.]v[0-9]+[.][0-9]+[.][0-9]+$" $dae_found_app;
}
map $dae_live $dae_stage {
    default "";
    "~[.](?<dae_found_stage>[a-z]+)[.]v[0-9]+[.][0-9]+[.][0-9]+$" $dae_found_stage;
}
map $dae_live $dae_release {
    default "";
    "~[.](?<dae_found_release>v[1-9][0-9]*)[.][0-9]+[.][0-9]+$" $dae_found_release;
}
map $dae_live $dae_server {
    default "";
    "~[.]v0[.][0-9]+[.][0-9]+$" "";
    "~[.]v[0-9]+[.][0-9]+[.]0$" unix:$dae_live/s;
    "~[.]v[0-9]+[.][0-9]+[.](?<dae_found_port>[0-9]+)$" 127.0.0.1:$dae_found_port;
}

server {
    listen @LISTEN@ default_server;
    server_name "";
    client_max_body_size 100m;
    proxy_read_timeout 3600s;
    proxy_send_timeout 300s;
    default_type text/plain;
    proxy_hide_header X-DAE-Release;
    add_header X-DAE-Release $dae_release always;
    error_page 502 504 =503 @dead;
    root @LIVE@/h/$host;
    uninitialized_variable_warn off;

    if (!-d $document_root) {
        return 404 "app/unknown: there is no app at $host -- see: dae apps\\n";
    }
    # Once per request: what the app answers (X-Accel-Redirect) is of the release that was asked, whatever is switched.
    if ($dae_live = "") {
        set $dae_live $realpath_root;
    }
    if ($dae_server = "") {
        return 404 "release/nothing-live: $dae_app has no release in $dae_stage -- push to it, or promote to it\\n";
    }
    if ($dae_closed) {
        return 404;
    }

    # A new connection each time, which on a unix socket costs next to nothing: a kept one could lead to an instance
    # that is being stopped, and what was sent down it would be lost.
    location / {
        proxy_pass http://$dae_server;
    }

    # The space under /_dae/ is the platform's; of it, outside traffic reaches the health check alone.
    location ^~ /_dae/ { return 404; }
    location = /_dae/health {
        proxy_pass http://$dae_server;
    }

    # Static handlers: the app says which file of its commit (X-Accel-Redirect), nginx sends it.
    location ^~ /_dae_static/ {
        internal;
        default_type application/octet-stream;
        alias $dae_live/code/;
        disable_symlinks on from=$dae_live/code;
        autoindex off;
    }

    location @dead {
        add_header X-DAE-Release $dae_release always;
        add_header Retry-After 1 always;
        return 503 "release/silent: $dae_app $dae_release does not answer in $dae_stage -- try again\\n";
    }
}
"""

MIME_TYPES = """\
types {
    text/html html htm;
    text/css css;
    text/xml xml;
    text/plain txt;
    text/markdown md;
    text/csv csv;
    text/calendar ics;
    text/javascript js mjs;
    application/json json map;
    application/manifest+json webmanifest;
    application/atom+xml atom;
    application/rss+xml rss;
    application/wasm wasm;
    application/pdf pdf;
    application/zip zip;
    application/gzip gz tgz;
    image/png png;
    image/jpeg jpg jpeg;
    image/gif gif;
    image/webp webp;
    image/avif avif;
    image/svg+xml svg svgz;
    image/x-icon ico;
    font/woff woff;
    font/woff2 woff2;
    font/ttf ttf;
    font/otf otf;
    audio/mpeg mp3;
    audio/ogg ogg oga;
    video/mp4 mp4;
    video/webm webm;
}
"""
